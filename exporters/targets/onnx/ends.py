"""Which nodes have weights, and the two ends: what comes before the first and after the last of them stays float32."""

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


def weights(model: onnx.ModelProto) -> list[tuple[int, ...] | None]:
    """Return the shape of each node's weights, None for a node without."""
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    return [
        next((shapes[name] for name in node.input if len(shapes.get(name, ())) > 1), None)
        if node.op_type in WEIGHTED
        else None
        for node in model.graph.node
    ]
