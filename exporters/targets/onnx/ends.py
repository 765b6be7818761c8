"""The two ends of a network: what comes before its first and after its last layer with weights stays float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def ends(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes before the first and after the last layer with weights."""
    nodes = model.graph.node
    weighted = [place for place, node in enumerate(nodes) if node.op_type in WEIGHTED]
    if not weighted:
        return [node.name for node in nodes]
    return [node.name for node in [*nodes[: weighted[0]], *nodes[weighted[-1] + 1 :]]]
