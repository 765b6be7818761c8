"""The step down, against a walk over every capacity."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.pipeline.planning import plan_again, plan_export, step_down
from prunnet.errors import InfeasibleError
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile
from prunnet.solver import solve
from runtime_py.errors import IncompatibleError
from tests.exporters.packages import write_package, write_profile


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory):
    return load_encoder(write_package(tmp_path_factory.mktemp("encoder") / "tiny"))


def every_plan(package, profile) -> list:
    """All plans that the profile allows, the largest first."""
    plans, below = [], None
    while True:
        try:
            plans.append(
                solve(package.prunable, profile, "onnx", below=below, min_capacity=package.min_capacity)
            )
        except InfeasibleError:
            return plans
        below = plans[-1].capacity_asked


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(factor=st.floats(1.001, 4), limit=st.integers(150, 400))
def test_the_next_capacity_is_the_largest_that_the_same_error_leaves_within_the_budget(
    package, tmp_path, factor, limit
) -> None:
    profile = load_profile(write_profile(tmp_path, budgets=f"max_artifact: {limit}KiB"))
    plan = plan_export(package, profile, "onnx")
    (check,) = plan.budgets
    measured = (check.model_copy(update={"measured": check.predicted * factor}),)
    smaller = every_plan(package, profile)[1:]
    fitting = [p for p in smaller if p.predicted.artifact_bytes * factor <= check.limit * (1 + 1e-12)]
    expected = fitting[0] if fitting else smaller[-1]
    assert step_down(package, profile, plan, measured).capacity == expected.capacity


def test_below_the_smallest_there_is_nothing(package, tmp_path) -> None:
    profile = load_profile(write_profile(tmp_path, budgets="max_artifact: 400KiB"))
    smallest = every_plan(package, profile)[-1]
    (check,) = smallest.budgets
    measured = (check.model_copy(update={"measured": 500 * 1024.0}),)
    left = step_down(package, profile, smallest, measured)
    assert isinstance(left, InfeasibleError)
    assert re.search("reachable is 512,000 bytes.*the smallest", str(left))
    with pytest.raises(InfeasibleError, match="512,000 bytes") as caught:
        plan_again(package, profile, smallest, {"fp32": left})
    assert caught.value.exit_code == 3


def test_where_every_precision_fails_each_is_explained(package, tmp_path) -> None:
    profile = load_profile(
        write_profile(tmp_path, budgets="max_artifact: 34KiB", precision="onnx: [fp32, int8]")
    )
    plan = plan_export(package, profile, "onnx")
    assert plan.precision == "int8"
    known = {"int8": IncompatibleError("int8 loses too much")}
    with pytest.raises(
        IncompatibleError, match=r"int8 loses too much\. In fp32: profile 'bench': no capacity"
    ):
        plan_again(package, profile, plan, known)
