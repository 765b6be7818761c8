"""Activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "softsign": F.softsign,
}


def _enter(name: str, function: Callable[[Tensor], Tensor]) -> None:
    register(name)(lambda o: function(o.tensor("x")))


for _name, _function in _PLAIN.items():
    _enter(_name, _function)


@register("clamped_relu")
def clamped_relu(o: Operands) -> Tensor:
    """min(beta, x if x >= 0 else alpha * x)."""
    x = o.tensor("x")
    return torch.where(x >= 0, x, x * o.number("alpha")).clamp(max=o.number("beta"))


@register("elu")
def elu(o: Operands) -> Tensor:
    """The input x if x > 0 else alpha * (exp(x) - 1)."""
    return F.elu(o.tensor("x"), o.number("alpha"))


@register("gelu")
def gelu(o: Operands) -> Tensor:
    """Gaussian error linear unit, exact or by one of two approximations."""
    x, mode = o.tensor("x"), o.text("mode", "EXACT")
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return F.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise OperandError(f"has the mode {mode!r}")


@register("leaky_relu")
def leaky_relu(o: Operands) -> Tensor:
    """The input x if x >= 0 else alpha * x."""
    return F.leaky_relu(o.tensor("x"), o.number("alpha"))


@register("linear_activation")
def linear_activation(o: Operands) -> Tensor:
    """Computes alpha * x + beta."""
    return o.tensor("x") * o.number("alpha") + o.number("beta", 0.0)


@register("prelu")
def prelu(o: Operands) -> Tensor:
    """Leaky ReLU with one slope per channel."""
    return F.prelu(o.tensor("x"), o.tensor("alpha"))


@register("scaled_tanh")
def scaled_tanh(o: Operands) -> Tensor:
    """Computes alpha * tanh(beta * x)."""
    return o.number("alpha") * torch.tanh(o.number("beta") * o.tensor("x"))


@register("sigmoid_hard")
def sigmoid_hard(o: Operands) -> Tensor:
    """Computes min(max(alpha * x + beta, 0), 1)."""
    return (o.tensor("x") * o.number("alpha") + o.number("beta")).clamp(0, 1)


@register("softmax")
def softmax(o: Operands) -> Tensor:
    """Softmax along one axis."""
    return torch.softmax(o.tensor("x"), o.integer("axis", -1))


@register("softplus_parametric")
def softplus_parametric(o: Operands) -> Tensor:
    """Computes alpha * log(1 + exp(beta * x)), with one alpha and beta per channel."""
    x = o.tensor("x")
    shape = [-1, *[1] * (x.ndim - 2)]
    scaled = o.tensor("beta").reshape(shape) * x
    return o.tensor("alpha").reshape(shape) * torch.logaddexp(scaled, torch.zeros_like(scaled))


@register("thresholded_relu")
def thresholded_relu(o: Operands) -> Tensor:
    """The input x if x >= alpha else 0."""
    x = o.tensor("x")
    return torch.where(x >= o.number("alpha"), x, torch.zeros_like(x))
