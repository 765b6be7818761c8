"""Pooling with a window: maximum, average and L2."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register
from runtime_py.mil_executor.windows import padded, window_pads

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class _Window:
    def __init__(self, o: Operands) -> None:
        self.x = o.tensor("x")
        self.rank = self.x.ndim - 2
        if self.rank not in _MAX:
            raise OperandError(f"has an input of rank {self.x.ndim}; 3 to 5 are known")
        self.kernel = o.integers("kernel_sizes")
        self.strides = o.integers("strides", [1] * self.rank)
        self.pads = window_pads(o, self.x.shape[2:], self.kernel, self.strides, [1] * self.rank)
        self.ceil = o.flag("ceil_mode")
        if self.ceil and any(before != after for before, after in self.pads):
            raise OperandError("has ceil_mode together with asymmetric padding")

    @property
    def symmetric(self) -> list[int]:
        return [before for before, _ in self.pads]

    @property
    def is_padded(self) -> bool:
        return any(before or after for before, after in self.pads)


@register("max_pool")
def max_pool(o: Operands) -> Tensor:
    """Largest value of each window; padding never wins."""
    w = _Window(o)
    run = _MAX[w.rank]
    if w.ceil:
        return run(w.x, w.kernel, w.strides, w.symmetric, 1, True)
    return run(padded(w.x, w.pads, -math.inf), w.kernel, w.strides)


@register("avg_pool")
def avg_pool(o: Operands) -> Tensor:
    """Mean of each window; zero padding counts unless `exclude_padding_from_average`."""
    w = _Window(o)
    run = _AVERAGE[w.rank]
    exclude = o.flag("exclude_padding_from_average")
    if w.ceil:
        return run(w.x, w.kernel, w.strides, w.symmetric, True, not exclude)
    mean = run(padded(w.x, w.pads), w.kernel, w.strides)
    if not (exclude and w.is_padded):
        return mean
    return mean / run(padded(torch.ones_like(w.x), w.pads), w.kernel, w.strides)


@register("l2_pool")
def l2_pool(o: Operands) -> Tensor:
    """Euclidean length of each window."""
    w = _Window(o)
    mean = _AVERAGE[w.rank](padded(w.x.square(), w.pads), w.kernel, w.strides, 0, w.ceil)
    return (mean * math.prod(w.kernel)).sqrt()
