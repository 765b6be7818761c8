"""Normalisation layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import Operands
from runtime_py.mil_executor.registry import register


def _affine(y: Tensor, o: Operands, shape: list[int]) -> Tensor:
    gamma, beta = o.optional("gamma"), o.optional("beta")
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def _standardised(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, True)
    return centred / (centred.square().mean(axes, True) + epsilon).sqrt()


@register("batch_norm")
def batch_norm(o: Operands) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta with stored statistics per channel."""
    x = o.tensor("x")
    shape = [1, -1, *[1] * (x.ndim - 2)]
    deviation = (o.tensor("variance").reshape(shape) + o.number("epsilon", 1e-5)).sqrt()
    return _affine((x - o.tensor("mean").reshape(shape)) / deviation, o, shape)


@register("instance_norm")
def instance_norm(o: Operands) -> Tensor:
    """Standardises each channel of each image over its positions."""
    x = o.tensor("x")
    y = _standardised(x, list(range(2, x.ndim)), o.number("epsilon", 1e-5))
    return _affine(y, o, [1, -1, *[1] * (x.ndim - 2)])


@register("layer_norm")
def layer_norm(o: Operands) -> Tensor:
    """Standardises over `axes`; gamma and beta have their shape."""
    x = o.tensor("x")
    axes = sorted(axis % x.ndim for axis in o.integers("axes", list(range(x.ndim))))
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    return _affine(_standardised(x, axes, o.number("epsilon", 1e-5)), o, shape)


@register("l2_norm")
def l2_norm(o: Operands) -> Tensor:
    """Divides by the length over the last three dimensions, sqrt(sum of squares + epsilon)."""
    x = o.tensor("x")
    return x / (x.square().sum((-3, -2, -1), True) + o.number("epsilon", 1e-6)).sqrt()


@register("local_response_norm")
def local_response_norm(o: Operands) -> Tensor:
    """Divides each channel by a power of the mean square of its neighbours."""
    return F.local_response_norm(
        o.tensor("x"), o.integer("size"), o.number("alpha", 1e-4), o.number("beta", 0.75), o.number("k", 1.0)
    )
