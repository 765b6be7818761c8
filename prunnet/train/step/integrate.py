"""Conflict-aware integration of the gradients of several capacities, after PrunNet (CVPR 2025).

Everything happens on the small matrices of inner products between the gradients, one matrix for each output filter of
each tensor, all of them at once: two passes over the gradients themselves, whatever the number of conflicts. They are
read where they lie, a piece at a time that fits the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

_PIECE = {"cpu": 1 << 17, "cuda": 1 << 24}
"""Values of each gradient that are multiplied at a time."""


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

    @property
    def only_sums(self) -> bool:
        """Whether nothing is left of the rule but the sum of the gradients."""
        return not self.project and self.alpha == 0 and self.balance is None


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
    by_losses: dict[tuple[int, ...], list[tuple[int, list[Tensor]]]] = {}
    for number, row in enumerate(zip(*gradients, strict=True)):
        present = [g for g in row if g is not None]
        result.append(present[0] if present else None)
        if len(present) > 1 and how.only_sums:
            result[number] = _sum(present)
        elif len(present) > 1:
            losses = tuple(k for k, g in enumerate(row) if g is not None)
            by_losses.setdefault(losses, []).append((number, present))
    for losses, entries in by_losses.items():
        merged = _integrate([each for _, each in entries], losses[0] == 0, how)
        for (number, _), gradient in zip(entries, merged, strict=True):
            result[number] = gradient
    return result


def _sum(gradients: list[Tensor]) -> Tensor:
    total = gradients[0] + gradients[1]
    for gradient in gradients[2:]:
        total += gradient
    return total


def _integrate(tensors: list[list[Tensor]], dense_first: bool, how: Integration) -> list[Tensor]:
    """Integrate K gradients of each of several tensors; all have gradients of the same losses."""
    losses = len(tensors[0])
    stacks = [_by_filter(gradients) for gradients in tensors]
    products = torch.cat([_products(rows) for rows in stacks])
    device = products.device
    sizes = [len(rows[0]) for rows in stacks]
    owner, counts = _filters(tuple(sizes), device)
    lengths = products.new_ones(len(stacks), losses)
    if how.balance is not None and dense_first:
        lengths = _shortened(products, counts, how.balance)
        products = products * lengths[owner, :, None] * lengths[owner, None, :]
    mixing = (
        torch.eye(losses, dtype=products.dtype, device=device).expand(len(products), losses, losses).clone()
    )
    if how.project:
        _project(mixing, products, protected=1 if how.protect_dense and dense_first else 0)
    weights = _weights(mixing, products, counts, how.alpha)
    weights = weights / weights.sum(1, keepdim=True) * losses
    factors = torch.einsum("fi,fij->fj", weights[owner], mixing) * lengths[owner]
    result = []
    for gradients, part in zip(tensors, torch.split(factors, sizes), strict=True):
        mixed = _room(gradients[0])
        target, *rows = _by_filter([mixed, *gradients])
        torch.mul(rows[0], part[:, :1], out=target)
        for row, factor in zip(rows[1:], part.T[1:], strict=True):
            target.addcmul_(row, factor[:, None])
        result.append(mixed)
    return result


@cache
def _filters(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the tensor's number of each filter, and how many filters each tensor has.

    Kept: a GPU would have to be waited for in every step, and recorded steps read them where they lie.
    """
    counts = torch.tensor(sizes)
    return torch.repeat_interleave(torch.arange(len(sizes)), counts).to(device), counts.to(device)


def _by_tensor(values: Tensor, counts: Tensor) -> Tensor:
    """Sum [filters, K] over the filters of each tensor, in their order on every device: [tensors, K]."""
    return torch.segment_reduce(values.contiguous(), "sum", lengths=counts, axis=0, unsafe=True)


def _room(gradient: Tensor) -> Tensor:
    """Return an uninitialised tensor of the same shape, of which `_by_filter` returns a view."""
    ordered = gradient.ndim == 4 and gradient.is_contiguous(memory_format=torch.channels_last)
    return torch.empty_like(
        gradient, memory_format=torch.channels_last if ordered else torch.contiguous_format
    )


def _by_filter(gradients: list[Tensor]) -> list[Tensor]:
    """Return each gradient as [filters, values], in the order in which the first lies in memory.

    The first one's view shares its memory. Only 4-D tensors have more than one filter.
    """
    if gradients[0].ndim != 4:
        return [g.reshape(1, -1) for g in gradients]
    if gradients[0].is_contiguous(memory_format=torch.channels_last):
        gradients = [g.permute(0, 2, 3, 1) for g in gradients]
    return [g.reshape(len(g), -1) for g in gradients]


def _products(rows: list[Tensor]) -> Tensor:
    """Return the inner products between K gradients, filter by filter: [filters, K, K]."""
    piece = _PIECE["cpu" if rows[0].device.type == "cpu" else "cuda"]
    filters, values = rows[0].shape
    if filters == 1:
        parts = zip(*(torch.split(row, piece, 1) for row in rows), strict=True)
        return torch.stack([_product(part) for part in parts]).sum(0)
    parts = zip(*(torch.split(row, max(1, piece // values)) for row in rows), strict=True)
    return torch.cat([_product(part) for part in parts])


def _product(rows: tuple[Tensor, ...]) -> Tensor:
    stacked = torch.stack(rows, 1)
    return torch.bmm(stacked, stacked.transpose(1, 2))


def _shortened(products: Tensor, counts: Tensor, balance: float) -> Tensor:
    """Return the factor on each gradient of each tensor, [tensors, K]; the dense gradient's is 1."""
    squares = _by_tensor(products.diagonal(dim1=1, dim2=2), counts)
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
        conflict = (along < 0) & (length[:, j, None] > 0)
        step = torch.where(conflict, -along / length[:, j, None], along.new_zeros(()))
        step[:, j] = 0
        step[:, :protected] = 0
        mixing[:, :, j] += step


def _weights(mixing: Tensor, products: Tensor, counts: Tensor, alpha: float) -> Tensor:
    """Return `((cos(g~_i, g_i) + 1) / 2) ** alpha` for each tensor, [tensors, K]; zero counts as unchanged."""
    moved = _by_tensor(torch.einsum("fil,fli->fi", mixing, products), counts)
    after = _by_tensor(torch.einsum("fil,flm,fim->fi", mixing, products, mixing), counts)
    before = _by_tensor(products.diagonal(dim1=1, dim2=2), counts)
    lengths = (after * before).clamp(min=0).sqrt()
    cosine = torch.where(lengths > 0, moved / lengths.clamp(min=1e-30), torch.ones_like(lengths))
    return ((cosine.clamp(-1, 1) + 1) / 2) ** alpha
