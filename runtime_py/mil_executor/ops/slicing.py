"""Cutting, padding and masking by position."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register


@register("slice_by_index")
def slice_by_index(o: Operands) -> Tensor:
    """x[begin:end:stride] per dimension; masked ends mean the edge, squeezed dimensions one position."""
    x = o.tensor("x")
    rank = x.ndim
    begin, end = o.integers("begin"), o.integers("end")
    stride = o.integers("stride", [1] * rank)
    none = [False] * rank
    from_edge, to_edge = o.flags("begin_mask", none), o.flags("end_mask", none)
    single = o.flags("squeeze_mask", none)
    index = tuple(
        begin[i]
        if single[i]
        else slice(None if from_edge[i] else begin[i], None if to_edge[i] else end[i], stride[i])
        for i in range(rank)
    )
    # numpy, because torch takes no negative stride.
    return torch.from_numpy(np.array(x.numpy()[index]))


@register("slice_by_size")
def slice_by_size(o: Operands) -> Tensor:
    """`size` values from `begin` per dimension; -1 takes all that are left."""
    x = o.tensor("x")
    for axis, (begin, size) in enumerate(zip(o.integers("begin"), o.integers("size"), strict=True)):
        x = x.narrow(axis, begin, x.shape[axis] - begin if size == -1 else size)
    return x


@register("crop")
def crop(o: Operands) -> Tensor:
    """Removes rows and columns from the edges of [N, C, H, W]."""
    x = o.tensor("x")
    (top, bottom), (left, right) = o.integers("crop_height"), o.integers("crop_width")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@register("pad")
def pad(o: Operands) -> Tensor:
    """Surrounds the last dimensions by a constant, a reflection or the edge."""
    x, amounts, mode = o.tensor("x"), o.integers("pad"), o.text("mode", "constant")
    named = len(amounts) // 2
    pairs = [(amounts[2 * i], amounts[2 * i + 1]) for i in range(named)]
    widths = [(0, 0)] * (x.ndim - named) + pairs
    if mode == "constant":
        value = o.number("constant_val", 0.0)
        return torch.from_numpy(np.pad(x.numpy(), widths, constant_values=value))
    if mode == "reflect":
        return torch.from_numpy(np.pad(x.numpy(), widths, mode="reflect"))
    if mode == "replicate":
        return torch.from_numpy(np.pad(x.numpy(), widths, mode="edge"))
    raise OperandError(f"has the mode {mode!r}")


@register("band_part")
def band_part(o: Operands) -> Tensor:
    """Keeps a band around the diagonal of the last two dimensions; a negative width keeps that side."""
    x, lower, upper = o.tensor("x"), o.integer("lower", -1), o.integer("upper", -1)
    offset = torch.arange(x.shape[-1])[None] - torch.arange(x.shape[-2])[:, None]
    below = offset >= -lower if lower >= 0 else torch.ones_like(offset, dtype=torch.bool)
    above = offset <= upper if upper >= 0 else torch.ones_like(offset, dtype=torch.bool)
    return torch.where(below & above, x, torch.zeros_like(x))
