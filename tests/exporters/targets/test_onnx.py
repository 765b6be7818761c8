"""What is and is not inside an ONNX artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporters.targets.registry import get_exporter
from prunnet.profile import OFFERED
from runtime_py.backends.onnx import OnnxBackend, open_session
from tests.exporters.nets import DIMENSION, SmallEncoder, glyph_images, spec, torch_embeddings

PRECISIONS = OFFERED["onnx"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_of_the_exporting_machine_is_inside(tmp_path: Path, precision: str) -> None:
    given = spec(precision=precision)
    content = get_exporter("onnx").convert(SmallEncoder(), given, tmp_path).path.read_bytes()
    for trace in (str(Path(__file__).parents[3]), str(Path.home()), "site-packages", ".py"):
        assert trace.encode() not in content
    model = onnx.load_from_string(content)
    assert {entry.key for entry in model.metadata_props} == set(spec().identity.entries())
    assert not any(node.metadata_props for node in model.graph.node)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_network_is_the_same_file(tmp_path: Path, precision: str) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(
            get_exporter("onnx")
            .convert(SmallEncoder(), spec(precision=precision), tmp_path / name)
            .path.read_bytes()
        )
    assert files[0] == files[1]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_both_ends_stay_float32(converted: Callable, precision: str) -> None:
    """The pixels are scaled and the embedding is divided by its length in 32 bits, without a detour."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(converted("onnx", precision).path)).graph
    assert [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)] == [1, 1]
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    makers = {node.output[0]: node for node in graph.node}
    last = makers[graph.output[0].name]
    assert last.op_type == "Div" and types[last.input[0]] == 1
    readers = [node for node in graph.node if graph.input[0].name in node.input]
    assert [node.op_type for node in readers] == ["Sub"]


def test_int8_runs_in_integer_kernels_alone(converted: Callable, tmp_path: Path) -> None:
    """A convolution left in float32 between two roundings would decide ties otherwise on another processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(converted("onnx", "int8").path), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 4 and "QGemm" in kinds
    assert not {"Conv", "Gemm", "MatMul", "Add"} & set(kinds)


def test_int8_leaves_normalisations_in_float32(tmp_path: Path) -> None:
    """Their few weights gain nothing, and ONNX Runtime fails on equal ones of two layers on x86 without VNNI."""

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = SmallEncoder()
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(DIMENSION) for _ in range(2))
            self.layers = torch.nn.ModuleList(torch.nn.Linear(DIMENSION, DIMENSION) for _ in range(2))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.inner(image)
            for norm, layer in zip(self.norms, self.layers, strict=True):
                x = layer(norm(x))
            return torch.nn.functional.normalize(x, dim=1)

    import onnxruntime

    path = get_exporter("onnx").convert(Normalised().eval(), spec(precision="int8"), tmp_path).path
    graph = onnx.load(path).graph
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert [weights[node.input[1]] for node in norms] == [onnx.TensorProto.FLOAT] * 2
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    onnxruntime.InferenceSession(str(path), options)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_names_and_opset_are_those_that_the_page_states(converted: Callable, precision: str) -> None:
    model = onnx.load(converted("onnx", precision).path)
    page = (Path(__file__).parents[3] / "docs" / "reference" / "artifacts.md").read_text()
    standard = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    assert [f"opset {version} |" in page for version in standard] == [True]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "embedding"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_batch_has_the_embeddings_of_its_pictures(converted: Callable, precision: str) -> None:
    artifact = converted("onnx", precision)
    assert not artifact.notes
    session = open_session(artifact.path)
    ends = (*session.get_inputs(), *session.get_outputs())
    assert [end.shape for end in ends] == [["batch", 3, 32, 32], ["batch", DIMENSION]]
    pictures = glyph_images(7)
    found = session.run(None, {"image": pictures.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    alone = OnnxBackend(artifact.path, artifact.input, artifact.output).run(pictures)
    np.testing.assert_allclose(found, alone, atol=1e-6)


class Reshaping(SmallEncoder):
    """Joins the picture with rows of a window, as Swin does, and parts them again."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        windows = image.reshape(1, 3, 2, 16, 2, 16).permute(0, 2, 4, 1, 3, 5).reshape(4, 3, 16, 16)
        windows = windows + windows.mean((2, 3), keepdim=True)
        image = windows.reshape(1, 2, 2, 3, 16, 16).permute(0, 3, 1, 4, 2, 5).reshape(1, 3, 32, 32)
        return super().forward(image)


class WithToken(SmallEncoder):
    """Puts something learned beside the features of each picture, twice, as a ViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 16, 2, 16))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem((image - self.mean) / self.std)
        features = self.down(torch.cat([self.token, features + self.block(features), self.token], 2))
        return nn.functional.normalize(self.head(features.mean((2, 3))), dim=1)


class OneAlone(SmallEncoder):
    """Takes the batch away."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward((image.squeeze(0) * 0.5).unsqueeze(0))


class Mixing(SmallEncoder):
    """Embeds a picture by what else is in the batch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image + 0.1 * image.mean(0, keepdim=True))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("network", [Reshaping, WithToken])
def test_what_is_of_one_picture_is_opened(
    tmp_path: Path, network: type[SmallEncoder], precision: str
) -> None:
    artifact = get_exporter("onnx").convert(network(), spec(precision=precision), tmp_path)
    assert not artifact.notes
    pictures = glyph_images(3)
    fed = [pictures.transpose(0, 3, 1, 2).astype(np.float32)]
    fed += [picture[None] for picture in fed[0]]
    session = open_session(artifact.path)
    together, *alone = (session.run(None, {"image": images})[0] for images in fed)
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)
    if precision == "fp32":
        np.testing.assert_allclose(together, torch_embeddings(network(), pictures), atol=1e-5)


@pytest.mark.parametrize(("network", "why"), [(OneAlone, "does not run it on 3"), (Mixing, "differ by")])
def test_a_network_that_cannot_take_a_batch_takes_one_picture_and_says_so(
    tmp_path: Path, network: type[SmallEncoder], why: str
) -> None:
    artifact = get_exporter("onnx").convert(network(), spec(), tmp_path)
    assert [note.startswith("its batch is fixed at 1: ") and why in note for note in artifact.notes] == [True]
    assert open_session(artifact.path).get_inputs()[0].shape == [1, 3, 32, 32]
    pictures = glyph_images(2)
    found = OnnxBackend(artifact.path, artifact.input, artifact.output).run(pictures)
    np.testing.assert_allclose(found, torch_embeddings(network(), pictures), atol=1e-5)
    assert [each.name for each in tmp_path.iterdir()] == ["encoder.onnx"]
