"""What training measured of a capacity is what an export of it must show."""

from __future__ import annotations

import re

import numpy as np
import pytest

from exporters.pipeline.expectation import held_against_curve
from exporters.pipeline.export import export_bundle
from prunnet.errors import EncoderError
from prunnet.package.curve import Curve, read_curve
from prunnet.package.load import load_encoder
from prunnet.package.package import EncoderPackage
from prunnet.profile import load_profile
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure
from tests.runtime_py.check.test_chance import of_classes, unit

CURVE = {
    "curve": {
        "dense_map": 80.0,
        "points": [{"achieved": 0.1, "cross_map": 77.0}, {"achieved": 1.0, "cross_map": 80.0}],
    }
}


def curve() -> Curve:
    found = read_curve(CURVE, "encoder.json")
    assert found is not None
    return found


def test_the_curve_is_read_between_its_points():
    assert curve().map_drop(0.1) == pytest.approx(0.03)
    assert curve().map_drop(0.55) == pytest.approx(0.015)
    assert curve().map_drop(1.0) == 0


def test_a_package_without_a_curve_expects_nothing():
    assert read_curve({"data": {}}, "encoder.json") is None


@pytest.mark.parametrize(
    ("malformed", "named"),
    [
        (None, ("metrics.curve",)),
        ([], ("metrics.curve",)),
        ({"points": [{}]}, ("curve.dense_map", "points.0.achieved", "points.0.cross_map")),
        ({"dense_map": 80.0, "points": []}, ("curve.points",)),
        (
            {"dense_map": float("nan"), "points": [{"achieved": 2, "cross_map": "x"}]},
            ("dense_map", "achieved"),
        ),
    ],
)
def test_a_malformed_curve_is_an_error_that_lists_its_problems(malformed, named):
    with pytest.raises(EncoderError, match=r"^/p/encoder\.json: ") as said:
        read_curve({"curve": malformed}, "/p/encoder.json")
    assert all(name in str(said.value) for name in named)


def test_an_export_of_a_package_with_a_malformed_curve_stops_before_it_starts(tmp_path):
    package = load_encoder("glyphs")
    metadata = package.metadata.model_copy(update={"metrics": {"curve": {"points": []}}})
    spoiled = EncoderPackage(tmp_path, metadata, package.prunable)
    with pytest.raises(EncoderError, match=r"encoder\.json: metrics\.curve\.dense_map"):
        export_bundle(spoiled, load_profile("galaxy_s24"), "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_drop_beyond_the_curve_is_refused_at_the_capacity_where_it_should_not_be():
    probes = of_classes([8] * 39, spread=0.9)
    noise = np.random.default_rng(0).standard_normal(probes.dense.shape)
    loose = TABLE["fp32"].model_copy(
        update={
            "min_cosine": -1.0, "min_mean_cosine": -1.0, "min_top1_agreement": 0.0,
            "max_recall_drop": 0.5, "max_map_drop": 0.5,
        }
    )  # fmt: skip
    right = measure(np.array(probes.dense), probes, loose, "test")
    worse = measure(unit(probes.dense + 0.1 * noise), probes, loose, "test")
    assert right.verdict == worse.verdict == "compatible", worse.reasons
    assert 0.03 < worse.figures.map_dense - worse.figures.map < 0.5
    held, note = held_against_curve(right, curve(), 1.0)
    assert held == right and note.startswith("package.map_drop is ")
    refused, note = held_against_curve(worse, curve(), 1.0)
    assert refused.verdict == "incompatible"
    assert refused.reasons[0] == note and "package.map_drop" in note and "capacity 1.000" in note
    below, note = held_against_curve(worse, curve(), 0.05)
    assert below.verdict == "incompatible" and "capacity 0.100, its smallest; this is 0.050" in note


def test_a_gate_that_is_not_judged_says_why():
    probes = of_classes([8] * 39, spread=0.9)
    record = measure(np.array(probes.dense), probes, TABLE["fp32"], "test")
    any_drop = TABLE["fp32"].model_copy(update={"max_map_drop": 1.0})
    for given, known, why in (
        (record, None, "no accuracy curve"),
        (record.model_copy(update={"tolerances": any_drop}), curve(), "max_map_drop"),
        (record.model_copy(update={"figures": None}), curve(), "anything to find"),
    ):
        held, note = held_against_curve(given, known, 0.5)
        assert held == given
        assert note.startswith("package.map_drop was not judged: ") and re.search(why, note)
