"""The operators of a `.tflite`, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


@dataclass(frozen=True)
class Operator:
    """One operator.

    Args:
        weights: Its weights, float32, None if it has none: attention multiplies two activations.
        outputs: Names of the tensors that it writes.
    """

    weights: NDArray[np.float32] | None
    outputs: tuple[str, ...]


def operators_of(model: Path) -> list[Operator]:
    """Return the operators of a model.

    Args:
        model: A float32 `.tflite` with one graph.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = model.read_bytes()
    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    weighted = {getattr(schema.BuiltinOperator, name) for name in WEIGHTED}
    tensors = root.subgraphs[0].tensors

    def described(operator: Any) -> Operator:
        has_weights = root.operatorCodes[operator.opcodeIndex].builtinCode in weighted
        taken = [tensors[index] for index in operator.inputs if index >= 0]
        constant = [each for each in taken if len(each.shape) > 1 and _is_stored(root.buffers[each.buffer])]
        return Operator(
            _values(constant[0], root.buffers[constant[0].buffer], content)
            if has_weights and constant
            else None,
            tuple(tensors[index].name.decode() for index in operator.outputs),
        )

    return [described(operator) for operator in root.subgraphs[0].operators]


def _values(tensor: Any, buffer: Any, content: bytes) -> NDArray[np.float32]:
    behind = buffer.offset > 1
    raw = content[buffer.offset : buffer.offset + buffer.size] if behind else bytes(buffer.data)
    return np.frombuffer(raw, np.float32).reshape(tensor.shape)


def _is_stored(buffer: Any) -> bool:
    """Tell whether a buffer holds something, inside the flatbuffer or behind it."""
    return buffer.offset > 1 or (buffer.data is not None and len(buffer.data) > 0)
