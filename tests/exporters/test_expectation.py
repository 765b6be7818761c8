"""What training measured of a capacity is what an export of it must show."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.expectation import expected_map_drop, held_against_curve
from runtime_py.drift import measure
from runtime_py.tolerances import TABLE
from tests.runtime_py.test_chance import of_classes, unit

CURVE = {
    "curve": {
        "dense_map": 80.0,
        "points": [{"achieved": 0.1, "cross_map": 77.0}, {"achieved": 1.0, "cross_map": 80.0}],
    }
}


def test_the_curve_is_read_between_its_points():
    assert expected_map_drop(CURVE, 0.1) == pytest.approx(0.03)
    assert expected_map_drop(CURVE, 0.55) == pytest.approx(0.015)
    assert expected_map_drop(CURVE, 1.0) == 0


@pytest.mark.parametrize(
    "metrics", [{}, {"curve": []}, {"curve": {"points": []}}, {"curve": {"points": [{}]}}]
)
def test_a_package_without_a_curve_expects_nothing(metrics):
    assert expected_map_drop(metrics, 0.5) is None


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
    assert held_against_curve(right, CURVE, 1.0) == right
    refused = held_against_curve(worse, CURVE, 1.0)
    assert refused.verdict == "incompatible"
    assert refused.reasons[0].startswith("package.map_drop") and "capacity 1.000" in refused.reasons[0]
    assert held_against_curve(worse, {}, 1.0) == worse
