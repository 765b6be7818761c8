"""Padding of sliding windows, as convolution and pooling state it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands

Pads = list[tuple[int, int]]


def window_pads(
    o: Operands, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Pads:
    """Return (before, after) of each spatial dimension.

    "same" pads so that the output has ceil(size / stride) positions, the odd one after; "same_lower" before.
    """
    kind = o.text("pad_type", "valid")
    if kind == "valid":
        return [(0, 0)] * len(size)
    if kind == "custom":
        pad = o.integers("pad")
        return [(pad[2 * i], pad[2 * i + 1]) for i in range(len(size))]
    totals = [
        max(0, s * (math.ceil(n / s) - 1) + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    if kind == "same":
        return [(t // 2, t - t // 2) for t in totals]
    if kind == "same_lower":
        return [(t - t // 2, t // 2) for t in totals]
    raise OperandError(f"has the pad_type {kind!r}")


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Surround the last dimensions of `x` with a value."""
    if not any(before or after for before, after in pads):
        return x
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)
