"""Resizing of [N, C, H, W]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register


def _sources(mode: str, size: int, target: int) -> Tensor:
    """Return float64 [target]: where each target position lies in the source, before clamping."""
    i = torch.arange(target, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if target > 1:
            return i * (size - 1) / (target - 1)
        return i + ((size - 1) / 2 if mode == "ALIGN_CORNERS" else 0)
    if mode == "DEFAULT":
        return i * size / target
    if mode == "OFFSET_CORNERS":
        step = max(1, size - 1) / target
        return (i + 0.5) * step
    if mode == "UNALIGN_CORNERS":
        return (i + 0.5) * size / target - 0.5
    raise OperandError(f"has the sampling mode {mode!r}")


def _bilinear(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    for axis, target in ((2, height), (3, width)):
        size = x.shape[axis]
        source = _sources(mode, size, target).clamp(0, size - 1)
        low = source.floor().long()
        high = (low + 1).clamp(max=size - 1)
        weight = (source - low).to(x.dtype).reshape((-1, 1) if axis == 2 else (-1,))
        x = x.index_select(axis, low) * (1 - weight) + x.index_select(axis, high) * weight
    return x


@register("resize_bilinear")
def resize_bilinear(o: Operands) -> Tensor:
    """Bilinear interpolation to a stated size."""
    height, width = o.integer("target_size_height", 1), o.integer("target_size_width", 1)
    return _bilinear(o.tensor("x"), height, width, o.text("sampling_mode", "DEFAULT"))


@register("upsample_bilinear")
def upsample_bilinear(o: Operands) -> Tensor:
    """Bilinear interpolation by a factor; the declared output has the size."""
    height, width = o.output_size(2)
    aligned = o.flag("align_corners", True)
    return _bilinear(o.tensor("x"), height, width, "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS")


@register("resize_nearest_neighbor", "upsample_nearest_neighbor")
def resize_nearest(o: Operands) -> Tensor:
    """The source position floor(i * size / target)."""
    return F.interpolate(o.tensor("x"), size=o.output_size(2), mode="nearest")
