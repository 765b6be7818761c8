"""fp16 for ONNX: weights and layers in 16 bits, float32 at both ends.

The sum of squares of an embedding overflows fp16 beyond a length of 256, and rounding the normalised pixels makes much
of the error: what comes before the first and after the last layer with weights stays float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.targets.onnx.ends import ends

if TYPE_CHECKING:
    import onnx


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its layers in fp16; its input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halves = convert_float_to_float16(model, keep_io_types=True, node_block_list=ends(model))
    _without_detours(halves.graph)
    del halves.graph.value_info[:]  # the types of before
    sorted_model = OnnxModel(halves)
    sorted_model.topological_sort()
    sorted_model.prune_graph()
    result: onnx.ModelProto = sorted_model.model
    return result


def _without_detours(graph: onnx.GraphProto) -> None:
    """Let values that are cast to fp16 and straight back, at both ends of the converted graph, stay as they are.

    The converter also makes one cast for each reader of a value, all of one name: the first stays.
    """
    made: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in made:
            graph.node.remove(node)
        made.update(node.output)
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    outputs = {value.name for value in graph.output}
    for back in list(casts.values()):
        there = casts.get(back.input[0])
        if there is None or _target(back) != _FLOAT:
            continue
        kept, replaced = there.input[0], back.output[0]
        if replaced in outputs:  # its name is the model's: give it to the value that was cast
            kept, replaced = replaced, kept
        graph.node.remove(back)
        for node in graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == replaced:
                        names[place] = kept


_FLOAT = 1
"""`TensorProto.FLOAT`."""


def _target(cast: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == "to")
