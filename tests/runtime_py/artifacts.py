"""Real artifacts of the tiny encoder: one small writer per target, with the identity inside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from runtime_py.bundle.manifest import TensorInfo
from tests.runtime_py.tiny import DIMENSION, SIZE

IDENTITY = {
    "prunnet.name": "tiny",
    "prunnet.space_id": "space-of-tiny",
    "prunnet.capacity": "0.5",
    "prunnet.dimension": str(DIMENSION),
    "prunnet.version": "0.1.0",
}
SUFFIX = {"onnx": ".onnx", "tflite": ".tflite", "executorch": ".pte"}


def infos(target: str) -> tuple[TensorInfo, TensorInfo]:
    """The input and output that the artifacts of `target` have."""
    nhwc = target == "tflite"
    shape = (1, SIZE, SIZE, 3) if nhwc else (1, 3, SIZE, SIZE)
    layout = "NHWC" if nhwc else "NCHW"
    return (
        TensorInfo(name="image", shape=shape, layout=layout, dtype="float32", value_range=(0, 255)),
        TensorInfo(name="embedding", shape=(1, DIMENSION), layout="NC", dtype="float32", value_range=(-1, 1)),
    )


def write_onnx(module: torch.nn.Module, path: Path, identity: dict[str, str]) -> None:
    import onnx

    example = (torch.rand(1, 3, SIZE, SIZE) * 255,)
    program = torch.onnx.export(
        module, example, dynamo=True, input_names=["image"], output_names=["embedding"], verbose=False
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, identity)
    onnx.save(model, path)


def write_failing_onnx(path: Path, identity: dict[str, str]) -> None:
    """A sound ONNX model that fails on every image with a channel value above 15: an index out of range."""
    import onnx
    from onnx import TensorProto, helper

    table = onnx.numpy_helper.from_array(np.eye(DIMENSION, dtype=np.float32), "table")
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["row"]),
        helper.make_node("Reshape", ["row", "shape"], ["embedding"]),
    ]
    shape = onnx.numpy_helper.from_array(np.array([1, DIMENSION]), "shape")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, DIMENSION])
    graph = helper.make_graph(nodes, "failing", [image], [embedding], [table, shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, identity)
    onnx.save(model, path)


class _ChannelsLast(torch.nn.Module):
    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x.permute(0, 3, 1, 2))


def write_tflite(module: torch.nn.Module, path: Path, identity: dict[str, str]) -> None:
    import litert_torch

    example = (torch.rand(1, SIZE, SIZE, 3) * 255,)
    litert_torch.convert(_ChannelsLast(module).eval(), example).export(str(path))
    path.write_bytes(with_tflite_metadata(path.read_bytes(), json.dumps(identity).encode()))


def with_tflite_metadata(model: bytes, content: bytes) -> bytes:
    """The flatbuffer with one more metadata entry, named "prunnet"."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "prunnet", len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 1024)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def write_executorch(module: torch.nn.Module, path: Path, identity: dict[str, str]) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module, (torch.rand(1, 3, SIZE, SIZE) * 255,))
    card = torch.tensor(list(json.dumps(identity).encode()), dtype=torch.uint8)
    lowered = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods={"prunnet_identity": card}
    )
    path.write_bytes(lowered.to_executorch().buffer)


WRITERS = {"onnx": write_onnx, "tflite": write_tflite, "executorch": write_executorch}
