"""mixed: an encoder that int8 ruins passes with the layers at fault in float, and the bundle names them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.errors import ExportError
from exporters.pipeline.conversion import convert_and_verify
from exporters.pipeline.mixed import fewest
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.sensitivity import sensitivities
from runtime_py.backends import open_backend
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.parity_pictures import parity_pictures
from tests.exporters.nets import SIDE, SmallEncoder, glyph_images, spec, torch_embeddings

OUTLIER = 3000.0
AT_FAULT = {"down.0", "head"}
"""Between these two the feature map has one channel that is three thousand times as large as the others."""
TOLERANCES = TABLE["mixed"].model_copy(
    update={"max_recall_drop": 1.0, "max_map_drop": 1.0, "min_closeness": 0.0, "min_own_picture": 0.0}
)
"""Nobody trained the network to retrieve."""


class OutlierEncoder(SmallEncoder):
    """Embeds as SmallEncoder does, but for one channel whose size leaves the others no levels of 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.down[0].weight[0] *= OUTLIER
            self.down[0].bias[0] *= OUTLIER
            self.head.weight[:, 0] /= OUTLIER


def probes_of(module: torch.nn.Module) -> Probes:
    images, pictures = glyph_images(24), parity_pictures(SIDE, SIDE)
    wanted, unlike = torch_embeddings(module, images), torch_embeddings(module, pictures)
    return Probes(images, np.arange(24) % 12, wanted, wanted, Parity(pictures, unlike, unlike))


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_the_layers_at_fault_stay_in_float_and_no_others(target, tmp_path):
    module = OutlierEncoder()
    probes, lines = probes_of(module), []
    for name in ("int8", "mixed"):
        (tmp_path / name).mkdir()
    with quiet(Path(os.devnull)):
        _, ruined = convert_and_verify(
            target, module, spec(precision="int8"), probes, TOLERANCES, tmp_path / "int8"
        )
        artifact, saved = convert_and_verify(
            target, module, spec(precision="mixed"), probes, TOLERANCES, tmp_path / "mixed", lines.append
        )
    assert ruined.drift.verdict == "incompatible"
    assert {reason.split(".")[0] for reason in ruined.drift.reasons} == {"compression"}
    assert saved.drift.verdict == "compatible", saved.drift.reasons
    assert set(artifact.float_layers) == AT_FAULT
    assert "2 of 5 layers stay in float" in artifact.notes[-1] and "down.0" in artifact.notes[-1]
    assert [line for line in lines if line.startswith("1 of 5 layers in float: incompatible compression.")]
    weights = open_backend(target, artifact.path, artifact.input, artifact.output).weights()
    if target != "executorch":  # a delegate hides its weights
        assert {each.dtype for each in weights} == {"float32", "int8"}
    assert saved.probes.recorded is not None and saved.drift.twin is not None


def test_the_ranking_names_the_layers_at_fault_first_and_is_the_same_again():
    found = [sensitivities(OutlierEncoder(), glyph_images(24), parity_pictures(SIDE, SIDE)) for _ in range(2)]
    assert found[0] == found[1]
    assert {each.layer for each in found[0][:2]} == AT_FAULT
    assert found[0][1].effect > 10 * found[0][2].effect
    plain = sensitivities(SmallEncoder(), glyph_images(24), parity_pictures(SIDE, SIDE))
    assert found[0][1].effect > 10 * plain[0].effect and all(each.effect > 0 for each in plain)


def test_an_encoder_that_int8_does_not_harm_keeps_nothing_in_float(tmp_path):
    module = SmallEncoder()
    with quiet(Path(os.devnull)):
        artifact, verified = convert_and_verify(
            "onnx", module, spec(precision="mixed"), probes_of(module), TOLERANCES, tmp_path
        )
    assert verified.drift.verdict == "compatible" and artifact.float_layers == ()
    assert "no layer has to stay in float" in artifact.notes[-1]


def test_where_no_share_passes_the_last_one_is_judged(tmp_path):
    module = OutlierEncoder()
    other = torch_embeddings(SmallEncoder(seed=3), glyph_images(24))
    probes = replace(probes_of(module), subnetwork=other)
    with quiet(Path(os.devnull)):
        artifact, verified = convert_and_verify(
            "onnx", module, spec(precision="mixed"), probes, TOLERANCES, tmp_path
        )
    assert verified.drift.verdict == "incompatible" and len(artifact.float_layers) == 4


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_a_layer_that_the_network_has_not_is_named(target, tmp_path):
    wanted = spec(precision="mixed", float_layers=("down.0", "up.7"))
    with pytest.raises(ExportError, match=r"not layers of the network: up\.7; it has stem\.0, block\.0"):
        get_exporter(target).convert(SmallEncoder(), wanted, tmp_path)


@pytest.mark.parametrize("most", [0, 1, 2, 5, 13])
def test_the_fewest_is_found_and_each_number_is_judged_once(most):
    for wanted in [*range(most + 1), None]:
        asked = []

        def passes(number: int, wanted: int | None = wanted, asked: list[int] = asked) -> bool:
            asked.append(number)
            return wanted is not None and number >= wanted

        assert fewest(passes, most) == wanted
        assert len(asked) == len(set(asked)) and max(asked) <= most
