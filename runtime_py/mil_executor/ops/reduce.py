"""Reductions over axes, and cumulative sums."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from runtime_py.mil_executor.operands import Operands
from runtime_py.mil_executor.registry import register

Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    # Last axis first, so that the remaining axes keep their numbers when dimensions are dropped.
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Reduction] = {
    "l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "l2_norm": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "log_sum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "log_sum_exp": torch.logsumexp,
    "max": torch.amax,
    "mean": torch.mean,
    "min": torch.amin,
    "prod": _product,
    "sum": torch.sum,
    "sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _enter(name: str, reduction: Reduction) -> None:
    @register(f"reduce_{name}")
    def run(o: Operands) -> Tensor:
        x = o.tensor("x")
        axes = o.integers("axes", list(range(x.ndim)))
        return reduction(x, tuple(axis % x.ndim for axis in axes), o.flag("keep_dims"))


for _name, _reduction in _REDUCTIONS.items():
    _enter(_name, _reduction)


@register("reduce_argmax")
def reduce_argmax(o: Operands) -> Tensor:
    """Position of the first largest value along an axis."""
    return o.tensor("x").argmax(o.integer("axis", -1), o.flag("keep_dims")).int()


@register("reduce_argmin")
def reduce_argmin(o: Operands) -> Tensor:
    """Position of the first smallest value along an axis."""
    return o.tensor("x").argmin(o.integer("axis", -1), o.flag("keep_dims")).int()


@register("cumsum")
def cumsum(o: Operands) -> Tensor:
    """Sum of all values up to each one, optionally without it (`exclusive`) or from the end (`reverse`)."""
    x, axis, reverse = o.tensor("x"), o.integer("axis", 0), o.flag("reverse")
    values = x.flip(axis) if reverse else x
    total = values.cumsum(axis)
    if o.flag("exclusive"):
        total = total - values
    return total.flip(axis) if reverse else total
