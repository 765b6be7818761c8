"""The solver with the project's own PrunableEncoder."""

from __future__ import annotations

import pytest

from prunnet.cost import trace
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.solver import Prunable, solve
from runtime_py.bundle.manifest import Cost
from tests.oracles.solver import every_cost, largest
from tests.prunnet.solver.profiles import profile_with

MULTIPLE = 8


@pytest.fixture(scope="module")
def prunable() -> PrunableEncoder:
    return PrunableEncoder(
        Encoder.from_timm("resnet10t", image_size=(48, 48)), CutRule(channel_multiple=MULTIPLE)
    ).eval()


@pytest.fixture(scope="module")
def costs(prunable: PrunableEncoder) -> dict[float, Cost]:
    return every_cost(prunable, profile_with(MULTIPLE), "tflite")


def test_every_cost_grows(costs: dict[float, Cost]) -> None:
    for field in ("parameters", "mflops", "artifact_bytes", "peak_memory_bytes", "latency_ms"):
        values = [getattr(cost, field) for cost in costs.values()]
        assert values == sorted(values)


@pytest.mark.parametrize("fraction", [0.15, 0.4, 0.75, 1.0])
def test_exhaustive_search_agrees(
    prunable: PrunableEncoder, costs: dict[float, Cost], fraction: float
) -> None:
    typed: Prunable = prunable
    profile = profile_with(MULTIPLE, max_mflops=costs[1.0].mflops * fraction)
    plan = solve(typed, profile, "tflite")
    assert plan.capacity_asked == largest(costs, profile, 2.0, 0.0)
    assert plan.capacity <= plan.capacity_asked


def test_the_skeleton_costs_what_the_extracted_encoder_costs(prunable: PrunableEncoder) -> None:
    for capacity in (0.2, 0.6, 1.0):
        skeleton = trace(prunable.at(capacity).skeleton(), prunable.input_shape)
        assert skeleton == trace(prunable.at(capacity).extract(), prunable.input_shape)


def test_masks_are_counted_as_they_are_cut(prunable: PrunableEncoder) -> None:
    assert not prunable.at(0.3).zeros()
    masked = PrunableEncoder(prunable.encoder, CutRule(granularity="weight")).eval()
    cut = masked.at(0.3)
    extracted = dict(cut.extract().named_parameters())
    assert cut.zeros() == {name: int((extracted[name] == 0).sum()) for name in cut.zeros()}
    graph = trace(cut.skeleton(), masked.input_shape, cut.zeros())
    assert sum(op.zeros for op in graph.ops) == sum(cut.zeros().values()) > 10**6
