"""Arithmetic, comparison, logic and rounding, element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.registry import register

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "identity": torch.clone,
    "logical_not": torch.logical_not,
    "round": torch.round,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}


def _real_div(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": _real_div,
    "sub": torch.sub,
}

_CAST_TYPES = {
    "bool": torch.bool,
    "fp16": torch.float32,
    "fp32": torch.float32,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
}


def _enter_unary(name: str, function: Callable[[Tensor], Tensor]) -> None:
    register(name)(lambda o: function(o.tensor("x")))


def _enter_binary(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    register(name)(lambda o: function(o.tensor("x"), o.tensor("y")))


for _name, _unary in _UNARY.items():
    _enter_unary(_name, _unary)
for _name, _binary in _BINARY.items():
    _enter_binary(_name, _binary)


@register("cast")
def cast(o: Operands) -> Tensor:
    """Change the type; a fraction is cut off towards zero. fp16 is rounded by the executor."""
    dtype = o.text("dtype")
    if dtype not in _CAST_TYPES:
        raise OperandError(f"casts to {dtype!r}; known: {', '.join(_CAST_TYPES)}")
    return o.tensor("x").to(_CAST_TYPES[dtype])


@register("clip")
def clip(o: Operands) -> Tensor:
    """min(max(x, alpha), beta)."""
    return o.tensor("x").clamp(o.number("alpha"), o.number("beta"))


@register("inverse")
def inverse(o: Operands) -> Tensor:
    """1 / (x + epsilon)."""
    return 1 / (o.tensor("x") + o.number("epsilon", 1e-4))


@register("log")
def log(o: Operands) -> Tensor:
    """Natural logarithm of x + epsilon."""
    return torch.log(o.tensor("x") + o.number("epsilon", 1e-45))


@register("rsqrt")
def rsqrt(o: Operands) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(o.tensor("x") + o.number("epsilon", 1e-12))


@register("select")
def select(o: Operands) -> Tensor:
    """`a` where `cond` holds, else `b`."""
    return torch.where(o.tensor("cond").bool(), o.tensor("a"), o.tensor("b"))


@register("threshold")
def threshold(o: Operands) -> Tensor:
    """max(x, alpha)."""
    return o.tensor("x").clamp(min=o.number("alpha"))
