"""Quantised activations."""

from __future__ import annotations

import torch
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register

_RANGES = {"int8": (torch.int8, -128, 127), "uint8": (torch.uint8, 0, 255)}


def along_axis(parameter: Tensor, data: Tensor, axis: int) -> Tensor:
    """Shape a scale or zero point, one per tensor or per position of an axis, to multiply with `data`."""
    if parameter.ndim == 0:
        return parameter
    return parameter.reshape([-1 if i == axis % data.ndim else 1 for i in range(data.ndim)])


@register("quantize")
def quantize(o: Operands) -> Tensor:
    """Computes round(input / scale) + zero_point, saturated."""
    data, axis, dtype = o.tensor("input"), o.integer("axis", 0), o.text("output_dtype")
    if dtype not in _RANGES:
        raise OperandError(f"quantises to {dtype!r}; known: {', '.join(_RANGES)}")
    torch_dtype, low, high = _RANGES[dtype]
    levels = torch.round(data / along_axis(o.tensor("scale"), data, axis))
    zero_point = o.optional("zero_point")
    if zero_point is not None:
        levels = levels + along_axis(zero_point.float(), data, axis)
    return levels.clamp(low, high).to(torch_dtype)


@register("dequantize")
def dequantize(o: Operands) -> Tensor:
    """Computes scale * (input - zero_point)."""
    data, axis = o.tensor("input").float(), o.integer("axis", 0)
    zero_point = o.optional("zero_point")
    if zero_point is not None:
        data = data - along_axis(zero_point.float(), data, axis)
    return along_axis(o.tensor("scale").float(), data, axis) * data
