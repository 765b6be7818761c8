"""Conflict-aware integration of the gradients of several capacities (METHOD.md section 3).

Everything happens on the small matrices of inner products between the gradients, one matrix for each output filter of
each tensor, all of them at once: two passes over the gradients themselves, whatever the number of conflicts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Integration:
    """How gradients become one.

    Attributes:
        project: Remove conflicts: each gradient is projected off every other one that it points against, one after the
            other, each time from where the last projection left it.
        protect_dense: The dense gradient (the first) is never projected; the others yield to it.
        alpha: Exponent of the cosine weights `((cos(g~, g) + 1) / 2) ** alpha`; 0 weighs all alike.
        balance: Largest length of a subnetwork's gradient, in lengths of the dense one, tensor by tensor; longer ones
            are shortened before anything else. None leaves all lengths as they are.
    """

    project: bool = True
    protect_dense: bool = False
    alpha: float = 0.5
    balance: float | None = None


def integrate(gradients: list[list[Tensor | None]], how: Integration) -> list[Tensor | None]:
    """Integrate the gradients of K losses.

    Args:
        gradients: For each loss, the dense one first, one gradient per parameter or None where the loss gives none.
        how: The rule.

    Returns:
        One gradient per parameter: `K * sum_i a_i g~_i`, or None where no loss gives one. A parameter with a single
        gradient keeps it as it is, so what only the dense loss may move (classifier, projector, BatchNorm affine) does.
    """
    result: list[Tensor | None] = []
    shared: list[tuple[int, list[int], Tensor]] = []
    for number, row in enumerate(zip(*gradients, strict=True)):
        present = [k for k, g in enumerate(row) if g is not None]
        if len(present) > 1:
            stacked = torch.stack([g for g in row if g is not None])
            filters = stacked.shape[1] if stacked.ndim == 5 else 1
            shared.append((number, present, stacked.reshape(len(present), filters, -1)))
        result.append(row[present[0]] if present else None)
    by_losses: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for number, present, stacked in shared:
        by_losses.setdefault(tuple(present), []).append((number, stacked))
    for losses, entries in by_losses.items():
        merged = _integrate([s for _, s in entries], losses[0] == 0, how)
        for (number, _), gradient in zip(entries, merged, strict=True):
            like = next(g[number] for g in gradients if g[number] is not None)
            assert like is not None
            result[number] = gradient.view_as(like)
    return result


def _integrate(stacks: list[Tensor], dense_first: bool, how: Integration) -> list[Tensor]:
    """Integrate tensors that have gradients of the same losses; each stack is [K, filters, values]."""
    losses = stacks[0].shape[0]
    products = torch.cat([torch.einsum("kfd,lfd->fkl", s, s) for s in stacks])
    device = products.device
    filters = torch.tensor([s.shape[1] for s in stacks], device=device)
    owner = torch.repeat_interleave(torch.arange(len(stacks), device=device), filters)
    lengths = products.new_ones(len(stacks), losses)
    if how.balance is not None and dense_first:
        lengths = _shortened(products, owner, len(stacks), how.balance)
        products = products * lengths[owner, :, None] * lengths[owner, None, :]
    mixing = torch.eye(losses, dtype=products.dtype, device=device).expand(len(products), losses, losses).clone()
    if how.project:
        _project(mixing, products, protected=1 if how.protect_dense and dense_first else 0)
    weights = _weights(mixing, products, owner, len(stacks), how.alpha)
    weights = weights / weights.sum(1, keepdim=True) * losses
    factors = torch.einsum("fi,fij->fj", weights[owner], mixing) * lengths[owner]
    parts = torch.split(factors, [s.shape[1] for s in stacks])
    return [torch.einsum("fk,kfd->fd", part, s) for part, s in zip(parts, stacks, strict=True)]


def _shortened(products: Tensor, owner: Tensor, tensors: int, balance: float) -> Tensor:
    """Return the factor on each gradient of each tensor, [tensors, K]; the dense gradient's is 1."""
    squares = products.new_zeros(tensors, products.shape[1])
    squares.index_add_(0, owner, products.diagonal(dim1=1, dim2=2))
    limit = balance * squares[:, :1].sqrt()
    factors = (limit / squares.sqrt().clamp(min=1e-30)).clamp(max=1.0)
    factors[:, 0] = 1.0
    return factors


def _project(mixing: Tensor, products: Tensor, protected: int) -> None:
    """Remove conflicts in place. Row i of `mixing` says how g~_i is made of the original gradients."""
    losses = mixing.shape[1]
    length = products.diagonal(dim1=1, dim2=2)
    for j in range(losses):
        along = torch.einsum("fil,fl->fi", mixing, products[:, :, j])
        step = torch.where((along < 0) & (length[:, j, None] > 0), -along / length[:, j, None], 0.0)
        step[:, j] = 0
        step[:, :protected] = 0
        mixing[:, :, j] += step


def _weights(mixing: Tensor, products: Tensor, owner: Tensor, tensors: int, alpha: float) -> Tensor:
    """Return `((cos(g~_i, g_i) + 1) / 2) ** alpha` for each tensor, [tensors, K]; zero counts as unchanged."""
    moved = torch.einsum("fil,fli->fi", mixing, products)
    after = torch.einsum("fil,flm,fim->fi", mixing, products, mixing)
    before = products.diagonal(dim1=1, dim2=2)
    sums = products.new_zeros(3, tensors, mixing.shape[1])
    for row, values in zip(sums, (moved, after, before), strict=True):
        row.index_add_(0, owner, values)
    lengths = (sums[1] * sums[2]).clamp(min=0).sqrt()
    cosine = torch.where(lengths > 0, sums[0] / lengths.clamp(min=1e-30), torch.ones_like(lengths))
    return ((cosine.clamp(-1, 1) + 1) / 2) ** alpha
