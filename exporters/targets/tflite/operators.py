"""The operators of a `.tflite`, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


@dataclass(frozen=True)
class Operator:
    """One operator.

    Args:
        weights: Shape of its weights, None if it has none: attention multiplies two activations.
        outputs: Names of the tensors that it writes.
    """

    weights: tuple[int, ...] | None
    outputs: tuple[str, ...]


def operators_of(model: Path) -> list[Operator]:
    """Return the operators of a model.

    Args:
        model: A `.tflite` with one graph.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model.read_bytes(), 0))
    weighted = {getattr(schema.BuiltinOperator, name) for name in WEIGHTED}
    tensors = root.subgraphs[0].tensors

    def described(operator: Any) -> Operator:
        has_weights = root.operatorCodes[operator.opcodeIndex].builtinCode in weighted
        taken = [tensors[index] for index in operator.inputs if index >= 0]
        constant = [each for each in taken if len(each.shape) > 1 and _is_stored(root.buffers[each.buffer])]
        return Operator(
            tuple(map(int, constant[0].shape)) if has_weights and constant else None,
            tuple(tensors[index].name.decode() for index in operator.outputs),
        )

    return [described(operator) for operator in root.subgraphs[0].operators]


def _is_stored(buffer: Any) -> bool:
    """Tell whether a buffer holds something, inside the flatbuffer or behind it."""
    return buffer.offset > 1 or (buffer.data is not None and len(buffer.data) > 0)
