"""The first dimension of an ONNX model: any number of pictures where the network allows it, otherwise one.

The network is traced, quantised and stored for one picture, and its first dimension is opened afterwards. Tracing with
an open one costs more: nodes that compute shapes, and in int8 of transformers biases of 8 bits, because ONNX Runtime's
preparation joins a layer with its bias only where every dimension is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime_py.errors import BundleError

if TYPE_CHECKING:
    import onnx
    import torch

BATCH = "batch"
"""Name of the first dimension of both ends."""

MOST_DIFFERENCE = 1e-4
"""Of an embedding in a batch from that of the picture alone; 0 on every network and precision measured."""

_NOTHING = 4
"""Level of ONNX Runtime's log: only what ends the process. A model that cannot take more says so by its exception."""


def opened(path: Path, example: torch.Tensor) -> tuple[str, ...]:
    """Let a saved model take any number of pictures, if it embeds each of several as it embeds it alone.

    Args:
        path: A model for one picture, with one input and one output; replaced where it can take more.
        example: float32 [1, 3, H, W] in 0..255.

    Returns:
        A note if the model stays as it is.
    """
    import onnx
    import torch

    wide = path.with_name(f"any-{path.name}")
    onnx.save(with_open_batch(onnx.load(path)), wide)
    problem = _problem(wide, torch.cat([example, example.flip(3), 255 - example]).numpy())
    if problem:
        wide.unlink()
        return (f"its batch is fixed at 1: {problem}",)
    wide.replace(path)
    return ()


def with_open_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a symbolic first dimension at both ends, and wherever one picture is written down.

    In a constant shape that it reshapes to, the first number becomes -1, which is the same number for one picture; a
    shape that has a -1 already keeps it. A constant that is put beside a picture, as a ViT's class token, is repeated.
    """
    from onnx import numpy_helper, shape_inference

    graph, said_shapes = model.graph, bool(model.graph.value_info)
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]  # shapes of one picture
    constants = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]])
        if -1 in shape or not len(shape):
            continue
        name = f"{node.input[1]}_{BATCH}"
        if name not in constants:
            constants[name] = numpy_helper.from_array(np.array([-1, *shape[1:]], np.int64), name)
        node.input[1] = name
    _repeat_constants(graph, constants)
    used = {name for node in graph.node for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(each for name, each in constants.items() if name in used)
    return shape_inference.infer_shapes(model) if said_shapes else model


def _repeat_constants(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto]) -> None:
    """Repeat, once for each picture, the constants that are joined to pictures along another axis than the first.

    Args:
        graph: Gets the nodes that repeat.
        constants: Name -> initialiser; the shapes that are needed are added.
    """
    from onnx import helper, numpy_helper

    ranks = {name: len(each.dims) for name, each in constants.items() if len(each.dims) and each.dims[0] == 1}
    count = f"{BATCH}_size"
    nodes: list[onnx.NodeProto] = []
    repeated: set[str] = set()
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in ranks:
            ranks[node.output[0]] = ranks[node.input[0]]
        for place, name in enumerate(node.input if node.op_type == "Concat" else ()):
            axis = helper.get_node_attr_value(node, "axis") if name in ranks else 0
            if axis in (0, -ranks.get(name, 0)):
                continue
            wide, shape, ones = f"{name}_{BATCH}", f"{name}_{BATCH}_shape", f"{BATCH}_ones_{ranks[name] - 1}"
            if name not in repeated:
                repeated.add(name)
                constants[ones] = numpy_helper.from_array(np.ones(ranks[name] - 1, np.int64), ones)
                nodes += [
                    helper.make_node("Concat", [count, ones], [shape], shape, axis=0),
                    helper.make_node("Expand", [name, shape], [wide], wide),
                ]
            node.input[place] = wide
        nodes.append(node)
    if repeated:
        counted = helper.make_node("Shape", [graph.input[0].name], [count], count, start=0, end=1)
        nodes = [counted, *nodes]
        del graph.node[:]
        graph.node.extend(nodes)


def _problem(path: Path, pictures: np.ndarray) -> str:
    """Return why a model does not embed pictures [N, 3, H, W] together as it embeds each alone; empty if it does."""
    from onnxruntime import RunOptions

    from runtime_py.backends.onnx import open_session

    silent = RunOptions()
    silent.log_severity_level = _NOTHING
    try:
        session = open_session(path)
        name = session.get_inputs()[0].name
        together, *alone = (
            session.run(None, {name: images}, silent)[0]
            for images in (pictures, *(picture[None] for picture in pictures))
        )
    except BundleError as error:
        return str(error)
    except Exception:  # ONNX Runtime's exceptions share no base but Exception; they speak of its source files
        return f"ONNX Runtime does not run it on {len(pictures)} pictures"
    if together.shape[0] != len(pictures):
        return f"{len(pictures)} pictures have {together.shape[0]} embeddings"
    difference = float(np.abs(together - np.concatenate(alone)).max())
    if difference <= MOST_DIFFERENCE:
        return ""
    return f"embeddings in a batch differ by {difference:.2g} from those of the pictures alone"
