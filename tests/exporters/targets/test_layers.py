"""The layers of a network, found again in an artifact by their weights; one that is another's is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exporters.errors import ExportError
from exporters.targets.layers import layers_of
from exporters.targets.placement import float_places
from exporters.targets.registry import get_exporter
from exporters.targets.soundness import example_input
from runtime_py.backends import open_backend
from runtime_py.retrieval.metrics import row_cosines
from tests.exporters.nets import SIDE, SmallEncoder, spec, torch_embeddings

EXAMPLE = example_input(spec())
SHAPES = [
    None,
    (16, 3, 3, 3),
    None,
    (1, 3, 3, 16),
    None,
    (16, 1, 1, 16),
    None,
    (32, 3, 3, 16),
    None,
    (24, 32),
]
"""As TFLite orders them; None is an operation without weights."""
ARTIFACT = [None if shape is None else np.zeros(shape, np.float32) for shape in SHAPES]
"""Layers that their shapes tell apart."""


def test_layers_are_named_as_in_torch_in_the_order_in_which_they_run():
    names = [layer.name for layer in layers_of(SmallEncoder(), EXAMPLE)]
    assert names == ["stem.0", "block.0", "block.2", "down.0", "head"]


def test_a_layer_is_its_operation_and_what_follows_it():
    kept = float_places("tflite", SmallEncoder(), EXAMPLE, ("block.0", "down.0"))(ARTIFACT)
    assert kept == [True, False, False, True, True, False, False, True, True, False]


@pytest.mark.parametrize("names", [(), ("head",)])
def test_both_ends_stay_in_float(names):
    kept = float_places("tflite", SmallEncoder(), EXAMPLE, names)([*ARTIFACT, None, None])
    assert kept == [True, *[False] * 8, names == ("head",), True, True]


class WhiteAlone(nn.Module):
    """Sees white pixels alone. In 256 levels, what it takes from 255 would be nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 15 * 15, 24)
        )
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.layers(torch.relu((image - 254.6) * 2.5)), dim=1)


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_what_comes_before_the_first_layer_is_not_rounded(target, tmp_path):
    images = np.where(np.random.default_rng(0).random((12, SIDE, SIDE, 3)) < 0.2, 255, 0).astype(np.uint8)
    module = WhiteAlone()
    artifact = get_exporter(target).convert(
        module, spec(precision="int8", calibration_images=images), tmp_path
    )
    embeddings = open_backend(target, artifact.path, artifact.input, artifact.output).run(images)
    assert row_cosines(embeddings, torch_embeddings(module, images)).min() > 0.99


@pytest.mark.parametrize(
    ("artifact", "says"),
    [
        (
            [*ARTIFACT[:-1], np.zeros((24, 33), np.float32)],
            r"layer head has weights \(24, 32\) in torch and \(24, 33\) in the artifact",
        ),
        (ARTIFACT[:-1], "the network has 5 layers and the artifact 4"),
    ],
)
def test_an_artifact_with_other_layers_is_refused(artifact, says):
    with pytest.raises(ExportError, match=says):
        float_places("tflite", SmallEncoder(), EXAMPLE, ("head",))(artifact)


def test_weights_that_are_computed_and_layers_that_run_twice_have_their_names():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 1)
            self.scaled = nn.Parameter(torch.ones(4, 3))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            pooled = self.shared(self.shared(image)).mean((2, 3))
            return nn.functional.linear(pooled, self.scaled / self.scaled.norm()) @ pooled.new_ones(4, 2)

    found = layers_of(Twice().eval(), EXAMPLE)
    assert [layer.name for layer in found[:3]] == ["shared", "shared", "scaled"]


class Branches(nn.Module):
    """Layers of one shape that run side by side, which converters put into an order of their own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.stem = kind, nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
        if kind == "maps":
            for name in "abcd":
                layer = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
                with torch.no_grad():
                    layer[1].weight.normal_()
                    layer[1].weight[3] = 0
                    layer[1].running_var.uniform_(0.5, 2)
                self.add_module(name, layer)
        else:
            for name in "qkv":
                self.add_module(name, nn.Linear(16, 16))
        self.head = nn.Linear(16, 24)
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image / 255)
        if self.kind == "maps":
            a, b, c = self.a(x), self.b(x), self.c(x)
            pooled = (self.d(c.relu()) * b.sigmoid() + a.relu()).mean((2, 3))
        else:
            x = x.flatten(2).transpose(1, 2)
            v, k, q = self.v(x), self.k(x), self.q(x)
            pooled = ((q @ k.transpose(1, 2)).softmax(-1) @ v).mean(1)
        return nn.functional.normalize(self.head(pooled), dim=1)


def stored_in_float(target: str, path: Path) -> list[np.ndarray]:
    """Read the weights that an artifact holds in float32."""
    if target == "onnx":
        import onnx

        held = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
        return [each for each in held if each.dtype == np.float32 and each.ndim > 1]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    details = [
        d for d in interpreter.get_tensor_details() if d["dtype"] == np.float32 and len(d["shape"]) > 1
    ]
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    return [interpreter.get_tensor(d["index"]) for d in details if d["index"] not in (taken, given)]


def magnitudes(weights: np.ndarray) -> np.ndarray:
    return np.sort(np.abs(weights).ravel())


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("kind", "name"), [("maps", "a"), ("maps", "c"), ("attention", "q"), ("attention", "k")]
)
def test_the_layer_in_float_is_the_one_that_is_named(
    target: str, kind: str, name: str, tmp_path: Path
) -> None:
    module = Branches(kind)
    held = f"{name}.0" if kind == "maps" else name
    artifact = get_exporter(target).convert(module, spec(precision="mixed", float_layers=(held,)), tmp_path)
    assert artifact.float_layers == (held,)
    found = stored_in_float(target, artifact.path)
    for each in "abcd" if kind == "maps" else "qkv":
        layer = getattr(module, each)
        weights = layer.weight if kind != "maps" else folded(*layer)
        wanted = magnitudes(weights.detach().numpy())
        there = any(f.size == wanted.size and np.allclose(magnitudes(f), wanted, atol=1e-6) for f in found)
        assert there == (each == name), each


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> torch.Tensor:
    return conv.weight * (norm.weight / (norm.running_var + norm.eps).sqrt()).reshape(-1, 1, 1, 1)


def test_layers_of_the_same_weights_go_by_their_order_and_others_are_refused() -> None:
    module = Branches("attention")
    with torch.no_grad():
        module.k.weight.copy_(module.q.weight)
    weights = [getattr(module, name).weight.detach().numpy() for name in ("q", "v", "k")]
    stem, head = module.stem[0].weight.detach().numpy(), module.head.weight.detach().numpy()
    places = float_places("onnx", module, EXAMPLE, ("k",))
    assert places([stem, *weights, head]) == [False, True, False, False, False]  # k runs before q
    assert places([stem, 3 * weights[0], weights[1] + 0.1, weights[2], head])[:3] == [False, True, False]
    with pytest.raises(
        ExportError, match="the layers v, q cannot be told apart in the artifact, so that none"
    ):
        places([stem, weights[0], weights[1] + 0.1, weights[2] + 0.1, head])
