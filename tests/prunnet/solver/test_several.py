"""Several allowed precisions: the plan is the pair that is expected to retrieve best, and says why not the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prunnet.cost.loss import MAP_LOSS, map_loss
from prunnet.errors import InfeasibleError
from prunnet.profile import DeviceProfile, dump_profile
from prunnet.solver import solve
from prunnet.solver.choose import choose
from runtime_py.bundle.manifest import Precision
from runtime_py.bundle.tolerances import is_quantised
from runtime_py.errors import IncompatibleError
from tests.prunnet.solver.profiles import profile_with
from tests.prunnet.solver.scalable import Scalable

TARGET = "tflite"


class Measured:
    """Satisfies `prunnet.solver.protocol.Packaged`: an encoder that loses `steep` points from capacity 1 to 0."""

    def __init__(self, steep: float | None) -> None:
        self.prunable, self.min_capacity, self._steep = Scalable(), 0.01, steep

    def expected_map(self, capacity: float) -> float | None:
        return None if self._steep is None else 80 - self._steep * (1 - capacity)


def allowing(*precisions: Precision, **budgets: float) -> DeviceProfile:
    return profile_with(**budgets).model_copy(update={"precision": {TARGET: precisions}})


def half_of_fp32() -> int:
    dense = solve(Scalable(), allowing("fp32"), TARGET).predicted.artifact_bytes
    assert dense is not None
    return dense // 2


@pytest.mark.parametrize("order", [("fp32", "int8"), ("int8", "fp32")])
@pytest.mark.parametrize(("steep", "chosen"), [(50.0, "int8"), (0.01, "fp32"), (None, "int8")])
def test_the_best_expected_retrieval_is_taken(
    order: tuple[Precision, ...], steep: float | None, chosen: str
) -> None:
    """Where capacity is worth much, int8 at capacity 1; where it is worth nothing, fp32 at less."""
    plan = solve(Measured(steep), allowing(*order, max_artifact=half_of_fp32()), TARGET)
    assert plan.precision == chosen
    assert (plan.capacity == 1) == (chosen == "int8")
    (other,) = plan.rejected
    assert {other.precision, plan.precision} == {"fp32", "int8"}
    assert ("mAP" if steep is not None else "largest capacity") in other.why
    if steep is not None:
        assert plan.expected_map == pytest.approx(80 - steep * (1 - plan.capacity) - map_loss(TARGET, chosen))


def test_what_fits_equally_costs_least() -> None:
    """Without a curve: both fit at capacity 1, and fp32 costs nothing."""
    plan = solve(Scalable(), allowing("int8", "fp32"), TARGET)
    assert (plan.precision, plan.capacity) == ("fp32", 1.0)


def test_exhaustive_over_pairs() -> None:
    """No pair of precision and capacity that fits is expected to retrieve better than the plan."""
    encoder, profile = Measured(3.0), allowing("fp32", "fp16", "int8", max_artifact=half_of_fp32())
    plan = solve(encoder, profile, TARGET)
    for precision in profile.precisions_of(TARGET):
        below = None
        while True:
            try:
                pair = solve(encoder, profile, TARGET, precision=precision, below=below)
            except InfeasibleError:
                break
            assert pair.expected_map is not None and plan.expected_map is not None
            assert pair.expected_map <= plan.expected_map
            below = pair.capacity_asked


def test_a_precision_that_does_not_fit_is_explained() -> None:
    smallest = solve(Scalable(), allowing("int8"), TARGET, min_capacity=0.0, below=0.02).predicted
    assert smallest.artifact_bytes is not None
    plan = solve(Scalable(), allowing("fp32", "int8", max_artifact=smallest.artifact_bytes + 1), TARGET)
    assert plan.precision == "int8"
    assert plan.rejected[0].why.startswith("profile 'raspberry_pi5': no capacity fits max_artifact")


def test_where_none_fits_all_are_explained() -> None:
    with pytest.raises(InfeasibleError, match=r"That is in int8\. In fp32: profile") as caught:
        solve(Scalable(), allowing("fp32", "int8", max_artifact=1000), TARGET)
    assert "What would help: a smaller backbone" in str(caught.value)


def test_what_fits_and_loses_too_much_comes_first() -> None:
    refusals = {"fp32": _no_room(), "int8": IncompatibleError("int8 loses too much")}
    with pytest.raises(IncompatibleError, match=r"^int8 loses too much\. In fp32: profile 'p': no capacity"):
        choose(refusals)


def _no_room() -> InfeasibleError:
    return InfeasibleError("p", "max_artifact", 1, 2, "bytes", "Help")


def test_the_losses_are_what_was_measured() -> None:
    rows = json.loads(Path("benchmarks/results/precision_matrix.json").read_text())
    measured: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row["target"], row["precision"])
        if row["encoder"] == "glyphs" and is_quantised(row["precision"]):
            measured[key] = max(measured.get(key, 0.0), round(-row["map_change"], 2))
    assert measured == MAP_LOSS


def test_an_unmeasured_loss_is_the_most_that_its_gate_accepts() -> None:
    assert map_loss("onnx", "int8-weights") == pytest.approx(1.5)
    assert map_loss("onnx", "fp16") == 0


def test_one_precision_is_written_as_one(tmp_path: Path) -> None:
    several = allowing("fp32", "int8")
    assert several.model_dump(mode="json")["precision"] == {TARGET: ["fp32", "int8"]}
    assert allowing("int8").model_dump(mode="json")["precision"] == {TARGET: "int8"}
    assert "fp32" in dump_profile(several)
