"""Convolution and its transpose, in one, two or three spatial dimensions."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.ops.linear import accumulate
from runtime_py.mil_executor.registry import register
from runtime_py.mil_executor.windows import padded, window_pads

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@register("conv")
def conv(o: Operands) -> Tensor:
    """Cross-correlation [N, C, *D] with [C_out, C / groups, *K]."""
    x, weight, bias = o.tensor("x"), o.tensor("weight"), o.optional("bias")
    rank = _spatial_rank(x)
    ones = [1] * rank
    strides, dilations = o.integers("strides", ones), o.integers("dilations", ones)
    groups = o.integer("groups", 1)
    kernel = list(weight.shape[2:])
    x = padded(x, window_pads(o, x.shape[2:], kernel, strides, dilations))
    run = _CONV[rank]
    step = max(1, o.chunk // math.prod(kernel))
    # Grouped sums are short (a depthwise one has the kernel's few terms), so they are not split.
    if o.chunk == 0 or groups > 1 or weight.shape[1] <= step:
        return run(x, weight, bias, strides, 0, dilations, groups)
    y = accumulate(
        run(x[:, c : c + step], weight[:, c : c + step], None, strides, 0, dilations)
        for c in range(0, weight.shape[1], step)
    )
    return y if bias is None else y + bias.reshape(-1, *ones)


@register("conv_transpose")
def conv_transpose(o: Operands) -> Tensor:
    """Transposed convolution [N, C, *D] with [C, C_out / groups, *K], cut to the stated output."""
    x, bias = o.tensor("x"), o.optional("bias")
    rank = _spatial_rank(x)
    ones = [1] * rank
    strides, dilations = o.integers("strides", ones), o.integers("dilations", ones)
    y = _TRANSPOSED[rank](x, o.tensor("weight"), None, strides, 0, 0, o.integer("groups", 1), dilations)
    stated = o.integers("output_shape", [])
    for i in range(rank):
        begin, size = _transposed_window(o, i, x.shape[2 + i], y.shape[2 + i], strides[i])
        if stated:
            size = stated[2 + i]
        y = y.narrow(2 + i, begin, min(size, y.shape[2 + i] - begin))
        missing = size - y.shape[2 + i]
        y = padded(y, [(0, missing if j == i else 0) for j in range(rank)])
    return y if bias is None else y + bias.reshape(-1, *ones)


def _transposed_window(o: Operands, i: int, size: int, full: int, stride: int) -> tuple[int, int]:
    """Return where the output begins in the full one, and its size."""
    kind = o.text("pad_type", "valid")
    if kind == "valid":
        return 0, full
    if kind == "same":
        return (full - size * stride) // 2, size * stride
    if kind == "custom":
        before, after = o.integers("pad")[2 * i : 2 * i + 2]
        return before, full - before - after
    raise OperandError(f"has the pad_type {kind!r}")


def _spatial_rank(x: Tensor) -> int:
    rank = x.ndim - 2
    if rank not in _CONV:
        raise OperandError(f"has an input of rank {x.ndim}; 3 to 5 are known")
    return rank
