"""The solver against exhaustive search, and what it says about its answer."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prunnet.errors import EncoderError, InfeasibleError, ProfileError, UnknownNameError
from prunnet.profile import BUDGET_UNITS, DeviceProfile, load_profiles
from prunnet.solver import solve
from runtime_py.bundle.manifest import Cost, Target
from tests.oracles.solver import every_cost, largest
from tests.prunnet.solver.profiles import TARGETS, profile_with
from tests.prunnet.solver.scalable import Scalable

ENCODER = Scalable()
FIELDS = {
    "max_artifact": "artifact_bytes",
    "max_peak_memory": "peak_memory_bytes",
    "max_mflops": "mflops",
    "max_latency_ms": "latency_ms",
}

NOT_A_NUMBER = [{"below": math.nan}, {"min_capacity": math.nan}]


@cache
def costs(target: Target) -> dict[float, Cost]:
    return every_cost(ENCODER, profile_with(), target)


def at_fraction(target: Target, budget: str, fraction: float) -> float:
    """A limit at this fraction of the dense encoder's cost."""
    value = getattr(costs(target)[1.0], FIELDS[budget]) * fraction
    return int(value) + 1 if BUDGET_UNITS[budget] == "bytes" else value


@pytest.mark.parametrize("target", TARGETS)
def test_every_cost_grows_with_the_capacity(target: Target) -> None:
    ascending = list(costs(target).values())
    assert len(ascending) == 10
    for field in ("parameters", *FIELDS.values()):
        values = [getattr(cost, field) for cost in ascending]
        assert values == sorted(values)
        assert values[0] < values[-1]


@settings(max_examples=150, deadline=None)
@given(
    target=st.sampled_from(TARGETS),
    fractions=st.dictionaries(st.sampled_from(sorted(FIELDS)), st.floats(0.02, 1.3), max_size=4),
    below=st.none() | st.floats(0.01, 1.1),
    floor=st.sampled_from([0.0, 0.04, 0.2]),
)
def test_the_solver_is_exhaustive_search(
    target: Target, fractions: dict[str, float], below: float | None, floor: float
) -> None:
    profile = profile_with(**{name: at_fraction(target, name, f) for name, f in fractions.items()})
    least = ENCODER.at(floor, 4).achieved if floor else 0.0
    best = largest(costs(target), profile, 2.0 if below is None else below, least)
    if best is None:
        with pytest.raises(InfeasibleError):
            solve(ENCODER, profile, target, below=below, min_capacity=floor)
        return
    plan = solve(ENCODER, profile, target, below=below, min_capacity=floor)
    assert plan.capacity_asked == best
    assert plan.capacity <= plan.capacity_asked
    assert plan.predicted == costs(target)[best]
    assert all(check.fits for check in plan.budgets)
    assert {check.budget for check in plan.budgets} == set(fractions)
    assert all(0 <= slack <= 1 for slack in plan.slack.values())


@pytest.mark.parametrize("budget", sorted(FIELDS))
def test_the_binding_budget_and_why_not_larger(budget: str) -> None:
    profile = profile_with(**{budget: at_fraction("tflite", budget, 0.6)})
    plan = solve(ENCODER, profile, "tflite")
    larger = min(c for c in costs("tflite") if c > plan.capacity_asked)
    assert plan.binding == budget
    assert f"the next larger capacity {larger:.4f} breaks {budget}" in plan.why_not_larger
    assert getattr(costs("tflite")[larger], FIELDS[budget]) > plan.budgets[0].limit
    assert plan.slack[budget] == pytest.approx(1 - plan.budgets[0].predicted / plan.budgets[0].limit)


def test_a_limit_that_reads_like_what_is_needed_is_told_apart() -> None:
    plan = solve(ENCODER, profile_with(max_mflops=at_fraction("onnx", "max_mflops", 0.99999)), "onnx")
    needed, _, limit = plan.why_not_larger.partition("it needs ")[2].partition(", the limit is ")
    assert limit == f"{needed}, 0.001% over it"


def test_several_broken_budgets_are_all_named() -> None:
    limits = {budget: at_fraction("tflite", budget, 0.6) for budget in ("max_mflops", "max_artifact")}
    plan = solve(ENCODER, profile_with(**limits), "tflite")
    assert "it would break" in plan.why_not_larger
    assert all(budget in plan.why_not_larger for budget in limits)


def test_dense_fits_without_budgets() -> None:
    plan = solve(ENCODER, profile_with(), "onnx")
    assert (plan.capacity, plan.binding, plan.budgets) == (1.0, None, ())
    assert "dense" in plan.why_not_larger


def test_plans_are_frozen() -> None:
    plan = solve(ENCODER, profile_with(), "onnx")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.capacity = 0.5  # type: ignore[misc]


def test_stepping_down_reaches_the_end() -> None:
    profile, below, seen = profile_with(max_mflops=1000.0), None, []
    with pytest.raises(InfeasibleError, match="Only smaller capacities were allowed"):
        while True:
            plan = solve(ENCODER, profile, "onnx", below=below, min_capacity=0.2)
            assert not seen or "ruled out" in plan.why_not_larger
            seen.append(below := plan.capacity_asked)
    assert seen == sorted((c for c in costs("onnx") if c >= ENCODER.at(0.2, 4).achieved), reverse=True)


def test_infeasible_names_budget_limit_reachable_and_remedy() -> None:
    with pytest.raises(InfeasibleError) as caught:
        solve(ENCODER, profile_with(max_artifact=10_000, max_mflops=5000.0), "tflite")
    error = caught.value
    smallest = costs("tflite")[min(costs("tflite"))]
    assert (error.budget, error.limit, error.reachable) == ("max_artifact", 10_000, smallest.artifact_bytes)
    assert error.exit_code == 3
    assert "int8" in str(error)
    assert "smaller backbone" in str(error)
    assert "smaller input" not in str(error)
    with pytest.raises(InfeasibleError) as caught:
        solve(ENCODER, profile_with(max_mflops=0.1), "tflite")
    assert "smaller input" in str(caught.value)
    assert "int8" not in str(caught.value)


def test_untrained_capacities_are_not_chosen_silently() -> None:
    profile = profile_with(max_mflops=at_fraction("tflite", "max_mflops", 0.2))
    chosen = solve(ENCODER, profile, "tflite").capacity_asked
    with pytest.raises(InfeasibleError, match=f"Capacity {chosen:.4f} fits, but the encoder was not trained"):
        solve(ENCODER, profile, "tflite", min_capacity=0.5)


def test_wrong_requests() -> None:
    with pytest.raises(
        ProfileError, match=r"has no target 'coreml'; add it, .*allowed: onnx, tflite, executorch"
    ):
        solve(ENCODER, profile_with(), "coreml")
    with pytest.raises(ProfileError, match=r"latency\.tflite\.fp16"):
        solve(ENCODER, profile_with(max_latency_ms=1.0), "tflite", precision="fp16")


@pytest.mark.parametrize("precision", ["palette6", "int3"])
def test_a_precision_that_the_target_does_not_offer_is_refused(precision: Any) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown precision of tflite '{precision}'"):
        solve(ENCODER, profile_with(), "tflite", precision=precision)


@pytest.mark.parametrize("bounds", [{"below": 0.0}, {"min_capacity": 1.5}, *NOT_A_NUMBER])
def test_bounds_that_are_no_capacities_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(EncoderError, match=f"{next(iter(bounds))} is "):
        solve(ENCODER, profile_with(), "tflite", **bounds)


def test_a_multiple_too_coarse_for_the_least_trained_capacity_leaves_what_there_is() -> None:
    coarse = profile_with().model_copy(update={"channel_multiple": 20})
    least, *_ = ENCODER.capacities(20)
    assert solve(ENCODER, coarse, "tflite", min_capacity=least / 2).capacity == 1.0
    budget = every_cost(ENCODER, coarse, "tflite")[least].mflops
    tight = profile_with(max_mflops=budget).model_copy(update={"channel_multiple": 20})
    assert solve(ENCODER, tight, "tflite", min_capacity=least / 2).capacity_asked == least


def test_precision_can_be_asked_for() -> None:
    profile = profile_with(max_artifact=at_fraction("tflite", "max_artifact", 0.5))
    fp32, int8 = (solve(ENCODER, profile, "tflite", precision=p) for p in ("fp32", "int8"))
    assert (int8.precision, int8.capacity) == ("int8", 1.0)
    assert fp32.capacity < 0.6


@pytest.mark.parametrize("budget", ["max_artifact", "max_peak_memory"])
def test_masks_fit_a_core_ml_budget_that_the_dense_encoder_breaks(budget: str) -> None:
    def apple(**budgets: int) -> DeviceProfile:
        return profile_with(**budgets).model_copy(update={"targets": ("coreml",)})

    masked = Scalable(granularity="weight")
    expected = every_cost(masked, apple(), "coreml")
    values = [getattr(cost, FIELDS[budget]) for cost in expected.values()]
    assert values == sorted(values) and values[0] < 0.8 * values[-1]
    profile = apple(**{budget: int(0.85 * values[-1])})
    plan = solve(masked, profile, "coreml")
    assert plan.capacity_asked == largest(expected, profile, 2.0, 0.0)
    assert 0.1 < plan.capacity < 1.0 and plan.binding == budget
    assert {cost.mflops for cost in expected.values()} == {plan.predicted.mflops}
    with pytest.raises(InfeasibleError, match=r"granularity channel \(masked weights (still|are)"):
        solve(masked, apple(**{budget: 1000}), "coreml")


def test_masks_cost_the_dense_encoder_elsewhere() -> None:
    masked = Scalable(granularity="weight")
    assert solve(masked, profile_with(), "tflite").capacity == 1.0
    with pytest.raises(InfeasibleError) as caught:
        solve(masked, profile_with(max_mflops=at_fraction("tflite", "max_mflops", 0.9)), "tflite")
    assert caught.value.reachable == pytest.approx(costs("tflite")[1.0].mflops)
    assert "granularity channel" in str(caught.value)


def test_a_fleet_shares_the_traced_graphs() -> None:
    encoder = Scalable()
    profiles = [profile for profile in load_profiles("*") if profile.channel_multiple == 8]
    for profile in profiles:
        for target in profile.targets:
            solve(encoder, profile.model_copy(update={"channel_multiple": 4}), target)
    traced = encoder.built
    assert traced <= len(encoder.capacities(4))
    for profile in profiles:
        for target in profile.targets:
            solve(encoder, profile.model_copy(update={"channel_multiple": 4}), target)
    assert encoder.built == traced


@given(fraction=st.floats(0.05, 1.2))
@settings(max_examples=20, deadline=None)
def test_more_budget_never_gives_less(fraction: float) -> None:
    def capacity(limit: Any) -> float:
        try:
            return solve(ENCODER, profile_with(max_mflops=limit), "onnx").capacity
        except InfeasibleError:
            return 0.0

    limit = at_fraction("onnx", "max_mflops", fraction)
    assume(limit > 0)
    assert capacity(limit) <= capacity(limit * 1.1)
