"""Slices of tensors along several dimensions at once, differentiable."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def sliced(tensor: Tensor, indices: dict[int, Tensor]) -> Tensor:
    """Return the entries at the given positions of the given dimensions.

    As `index_select` along one dimension after the other, but its gradient is written once instead of added up once
    for each, and both keep the order in which the tensor lies in memory.

    Args:
        tensor: Any shape; a 4-D one may be channels_last.
        indices: For each dimension that is sliced, different positions, int64 [kept].
    """
    if not indices:
        return tensor
    return cast(Tensor, _Sliced.apply(tensor, tuple(indices), *indices.values()))  # type: ignore[no-untyped-call]


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dims: tuple[int, ...], *indices: Tensor) -> Tensor:
        order = _memory_order(tensor)
        ctx.shape, ctx.dims, ctx.order = tensor.shape, dims, order
        ctx.save_for_backward(*indices)
        part = tensor.detach().permute(order)
        for dim, index in zip(dims, indices, strict=True):
            part = _taken(part, order.index(dim), index)
        return part.permute(_inverse(order))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        part, order = gradient.permute(ctx.order), ctx.order
        for dim, index in reversed(list(zip(ctx.dims, ctx.saved_tensors, strict=True))):
            part = _put(part, order.index(dim), index, ctx.shape[dim])
        return part.permute(_inverse(order)), None, *(None for _ in ctx.saved_tensors)


def _taken(part: Tensor, at: int, index: Tensor) -> Tensor:
    """Return the entries at `index` of one dimension. A gather is several times as fast along the last one."""
    if at < part.ndim - 1 or not at:
        return part.index_select(at, index)
    rows = part.reshape(-1, part.shape[-1])
    return rows.gather(1, index.expand(len(rows), -1)).view(*part.shape[:-1], -1)


def _put(part: Tensor, at: int, index: Tensor, size: int) -> Tensor:
    """Return zeros of that size in one dimension, with `part` at `index`."""
    shape = [*part.shape[:at], size, *part.shape[at + 1 :]]
    if at < part.ndim - 1 or not at:
        return part.new_zeros(shape).index_copy_(at, index, part)
    rows = part.reshape(-1, part.shape[-1])
    spread = part.new_zeros(len(rows), size).scatter_(1, index.expand(len(rows), -1), rows)
    return spread.view(shape)


def _memory_order(tensor: Tensor) -> tuple[int, ...]:
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return (0, 2, 3, 1)
    return tuple(range(tensor.ndim))


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(order.index(d) for d in range(len(order)))
