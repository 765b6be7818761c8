"""Matrix products and attention."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register


def accumulate(parts: Iterable[Tensor]) -> Tensor:
    """Add tensors of one shape, rounding each and every partial sum to fp16."""
    total: Tensor | None = None
    for part in parts:
        rounded = part.half().float()
        total = rounded if total is None else (total + rounded).half().float()
    if total is None:
        raise OperandError("sums nothing")
    return total


def product(x: Tensor, y: Tensor, chunk: int) -> Tensor:
    """Multiply [..., M, K] by [..., K, N].

    Args:
        x: Left factor.
        y: Right factor.
        chunk: Terms of K that are summed in fp32 before the sum is rounded to fp16; 0: no rounding.

    Returns:
        [..., M, N].
    """
    terms = x.shape[-1]
    if chunk == 0 or terms <= chunk:
        return x @ y
    return accumulate(x[..., k : k + chunk] @ y[..., k : k + chunk, :] for k in range(0, terms, chunk))


@register("linear")
def linear(o: Operands) -> Tensor:
    """Computes x @ weight.T + bias."""
    y = product(o.tensor("x"), o.tensor("weight").transpose(-1, -2), o.chunk)
    bias = o.optional("bias")
    return y if bias is None else y + bias


@register("matmul")
def matmul(o: Operands) -> Tensor:
    """Batched matrix product with optional transposition of either side; a vector counts as a matrix."""
    x, y = o.tensor("x"), o.tensor("y")
    if x.ndim == 1 or y.ndim == 1:
        return x @ y
    if o.flag("transpose_x"):
        x = x.transpose(-1, -2)
    if o.flag("transpose_y"):
        y = y.transpose(-1, -2)
    return product(x, y, o.chunk)


@register("einsum")
def einsum(o: Operands) -> Tensor:
    """Einstein summation of two tensors."""
    return torch.einsum(o.text("equation"), *o.tensors("values"))


@register("scaled_dot_product_attention")
def attention(o: Operands) -> Tensor:
    """Computes softmax(query @ key.T / sqrt(E) + mask) @ value; a boolean mask keeps where it is true."""
    query, mask = o.tensor("query"), o.optional("attn_mask")
    scores = product(query, o.tensor("key").transpose(-1, -2), o.chunk) / math.sqrt(query.shape[-1])
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    return product(torch.softmax(scores, -1), o.tensor("value"), o.chunk)
