"""The layers of a network, found again in an artifact by their place; one that is another's is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from exporters.errors import ExportError
from exporters.targets.layers import float_places, layers_of
from exporters.targets.registry import get_exporter
from exporters.targets.soundness import example_input
from runtime_py.backends import open_backend
from runtime_py.retrieval.metrics import row_cosines
from tests.exporters.nets import SIDE, SmallEncoder, spec, torch_embeddings

EXAMPLE = example_input(spec())
ARTIFACT = [
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
"""Shapes as TFLite orders them; None is an operation without weights."""


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
            [*ARTIFACT[:-1], (24, 33)],
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
