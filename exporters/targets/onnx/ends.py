"""Which nodes have weights, and the two ends: what comes before the first and after the last of them stays float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

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


def weights(model: onnx.ModelProto) -> list[NDArray[Any] | None]:
    """Return each node's weights, None for a node without."""
    from onnx import numpy_helper

    matrices = {each.name: each for each in model.graph.initializer if len(each.dims) > 1}
    held = [
        next((matrices[name] for name in node.input if name in matrices), None)
        if node.op_type in WEIGHTED
        else None
        for node in model.graph.node
    ]
    return [None if each is None else numpy_helper.to_array(each) for each in held]
