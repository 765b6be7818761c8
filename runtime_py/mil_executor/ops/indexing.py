"""Gathering by index, and the largest values."""

from __future__ import annotations

import torch
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands, position
from runtime_py.mil_executor.registry import register


@register("gather")
def gather(o: Operands) -> Tensor:
    """Takes slices along an axis; the first `batch_dims` dimensions of x and indices go together."""
    x, batch = o.tensor("x"), o.integer("batch_dims", 0)
    axis = o.integer("axis", 0) % x.ndim
    index = position(o.tensor("indices"), x.shape[axis])
    if batch == 0:
        return _take(x, index, axis)
    rows = [
        _take(part, where, axis - batch)
        for part, where in zip(x.flatten(0, batch - 1), index.flatten(0, batch - 1), strict=True)
    ]
    joined = torch.stack(rows)
    return joined.reshape(*x.shape[:batch], *joined.shape[1:])


def _take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    taken = x.index_select(axis, index.flatten())
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


@register("gather_along_axis")
def gather_along_axis(o: Operands) -> Tensor:
    """Takes one value per position of `indices`, along an axis."""
    x, axis = o.tensor("x"), o.integer("axis", 0)
    return torch.take_along_dim(x, position(o.tensor("indices"), x.shape[axis]), axis)


@register("gather_nd")
def gather_nd(o: Operands) -> Tensor:
    """Takes slices; the last dimension of `indices` addresses the first dimensions of x."""
    if o.integer("batch_dims", 0):
        raise OperandError("has batch_dims, which are not known here")
    x, indices = o.tensor("x"), o.tensor("indices")
    return x[tuple(position(indices[..., k], x.shape[k]) for k in range(indices.shape[-1]))]


@register("topk")
def topk(o: Operands) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) values along an axis, sorted, with their positions."""
    values, positions = o.tensor("x").topk(o.integer("k", 1), o.integer("axis", -1), not o.flag("ascending"))
    return values, positions.int()
