"""The layers of a network, found again in an artifact by their place; one that is another's is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporters.errors import ExportError
from exporters.targets.layers import float_places, layers_of
from exporters.targets.soundness import example_input
from tests.exporters.nets import SmallEncoder, spec

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
    assert kept == [False, False, False, True, True, False, False, True, True, False]
    assert not any(float_places("tflite", SmallEncoder(), EXAMPLE, ())(ARTIFACT))


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
