"""Which operations of a Core ML program may run in fp16.

The sum of squares of an embedding overflows fp16 beyond a length of 256, and rounding the normalised pixels
alone makes 20 to 30 % of the error of a convolutional network (measured on resnet18 and mobilenetv2). So what
comes before the first and after the last layer stays in fp32; that is a few element-wise operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

LAYERS = frozenset(
    {
        "avg_pool", "batch_norm", "conv", "conv_transpose", "einsum", "instance_norm", "layer_norm", "linear",
        "matmul", "max_pool", "reduce_mean", "scaled_dot_product_attention",
    }
)  # fmt: skip
"""Operations between the first and the last of which everything may be rounded."""


def runs_in_fp16(operation: Any) -> bool:
    """Tell whether coremltools may turn an operation to fp16: it is a layer, or lies between two."""
    return operation.op_type in LAYERS or (
        _reaches_layer(operation, _producers) and _reaches_layer(operation, _consumers)
    )


def _reaches_layer(operation: Any, neighbours: Callable[[Any], Iterable[Any]]) -> bool:
    seen: set[Any] = set()
    waiting = list(neighbours(operation))
    while waiting:
        current = waiting.pop()
        if current.op_type in LAYERS:
            return True
        if current not in seen:
            seen.add(current)
            waiting.extend(neighbours(current))
    return False


def _producers(operation: Any) -> list[Any]:
    bound = operation.inputs.values()
    variables = [v for value in bound for v in (value if isinstance(value, list | tuple) else (value,))]
    return [v.op for v in variables if v is not None and v.op is not None]


def _consumers(operation: Any) -> list[Any]:
    return [consumer for variable in operation.outputs for consumer in variable.child_ops]
