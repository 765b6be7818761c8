"""The solver with the project's own PrunableEncoder."""

from __future__ import annotations

import pytest
import torch

from prunnet.cost import trace
from prunnet.encoder.encoder import Encoder
from prunnet.errors import InfeasibleError
from prunnet.package.load import load_encoder
from prunnet.profile import Budgets, load_profile
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.solver import Prunable, solve
from runtime_py.bundle.manifest import Cost
from tests.oracles.solver import every_cost, largest
from tests.prunnet.solver.profiles import profile_with

MULTIPLE = 8


@pytest.fixture(scope="module")
def prunable() -> PrunableEncoder:
    torch.manual_seed(
        0
    )  # a weight that is zero by chance would be counted among those that masks set to zero
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


def test_a_larger_subnetwork_may_take_fewer_bytes_where_large_tensors_alone_are_compressed() -> None:
    """Core ML compresses tensors of more than 2,048 elements, and layers of the built-in encoder grow past that."""
    prunable, base = (
        load_encoder("glyphs").prunable,
        load_profile("iphone15").at_precision("palette4", ["coreml"]),
    )
    sizes = {each: cost.artifact_bytes for each, cost in every_cost(prunable, base, "coreml").items()}
    ascending = list(sizes.values())
    assert ascending != sorted(ascending)
    steps = [i for i in range(1, len(ascending)) if ascending[i] < ascending[i - 1]]
    for limit in {min(ascending) - 1, *(ascending[i - k] for i in steps for k in (0, 1))}:
        profile = base.model_copy(update={"budgets": Budgets(max_artifact=f"{limit}B")})
        fitting = [capacity for capacity, size in sizes.items() if size <= limit]
        if fitting:
            assert solve(prunable, profile, "coreml").capacity_asked == max(fitting)
        else:
            with pytest.raises(InfeasibleError) as raised:
                solve(prunable, profile, "coreml")
            assert raised.value.reachable == min(ascending)
