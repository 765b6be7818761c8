"""int8 of the built-in encoder: it ships with the tolerances of the table, and faults behind it are caught."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from exporters.pipeline.export import _refusal
from exporters.pipeline.verification import Verified, verify
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.encoder.embedding import embed
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure
from runtime_py.check.parity_pictures import parity_pictures

CAPACITY = 0.2


class Case:
    """The subnetwork at a capacity where it converts in seconds, with its probes."""

    def __init__(self) -> None:
        self.package = load_encoder("glyphs")
        self.module = self.package.subnetwork(CAPACITY)
        pictures = parity_pictures(self.package.preprocessing.height, self.package.preprocessing.width)
        parity = Parity(pictures, embed(self.package.subnetwork(1.0), pictures), embed(self.module, pictures))
        images = self.package.probes.images
        self.probes = Probes(
            images, self.package.probes.labels, self.package.dense, embed(self.module, images), parity
        )
        self.spec = ExportSpec.of(self.package, self.package.prunable.at(CAPACITY).achieved, "int8")

    def judge(self, module, folder: Path, spec: ExportSpec | None = None) -> Verified:
        with quiet(Path(os.devnull)):
            artifact = get_exporter("tflite").convert(module, spec or self.spec, folder)
            return verify("tflite", artifact, self.spec, self.probes, TABLE["int8"])


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def test_int8_ships_and_its_twin_is_exact(case, tmp_path):
    verified = case.judge(case.module, tmp_path)
    assert verified.drift.verdict == "compatible", verified.drift.reasons
    assert verified.drift.twin.precision == "fp32"
    assert verified.drift.twin.figures.min_cosine > TABLE["fp32"].min_cosine
    assert verified.probes.recorded.probes.shape == case.probes.dense.shape


def test_a_fault_that_rounding_would_hide_is_seen_in_the_twin(case, tmp_path):
    """A shift of two grey levels moves an int8 artifact by less than rounding does."""
    import torch

    class Brighter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = case.module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner((x + 2).clamp(0, 255))

    reasons = case.judge(Brighter().eval(), tmp_path).drift.reasons
    assert reasons and all(reason.endswith("in its fp32 twin") for reason in reasons), reasons


def test_ranges_of_other_pictures_are_caught(case, tmp_path):
    dark = replace(case.spec, calibration_images=np.asarray(case.spec.calibration_images // 4, np.uint8))
    reasons = case.judge(case.module, tmp_path, dark).drift.reasons
    assert {"compression.mean_cosine", "compression.map_drop"} <= {reason.split(" ")[0] for reason in reasons}


@pytest.mark.parametrize(
    ("reasons", "says"),
    [
        (
            ("compression.map_drop is 0.4", "compatibility.map_drop is 0.4"),
            "What would help: fp32 or fp16 or mixed for",
        ),
        (("parity.min_cosine is 0.9, in its fp32 twin", "compression.map_drop is 0.4"), None),
        (("closeness.to_dense is 0.5",), None),
    ],
)
def test_what_helps_is_said_where_rounding_is_at_fault(case, tmp_path, reasons, says):
    profile = load_profile("iphone15")  # without a latency budget, which would need coefficients
    plan = SimpleNamespace(profile="bench", target="tflite", precision="int8", capacity=CAPACITY)
    drift = measure(case.probes.subnetwork, case.probes, TABLE["int8"], "torch")
    refused = str(
        _refusal(profile, plan, drift.model_copy(update={"verdict": "incompatible", "reasons": reasons}))
    )
    assert (says in refused) if says else refused.endswith("No bundle was written")


def test_an_export_into_the_same_folder_replaces_the_twin_too(case, tmp_path):
    with quiet(Path(os.devnull)):
        first, second = (
            get_exporter("tflite").convert(case.module, case.spec, tmp_path).twin.artifact.path.read_bytes()
            for _ in range(2)
        )
    assert first == second
