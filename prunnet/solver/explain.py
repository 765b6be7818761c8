"""Says why: the sentences of plans and of infeasible profiles."""

from __future__ import annotations

from collections.abc import Collection

from prunnet.errors import InfeasibleError
from prunnet.profile import Budgets, DeviceProfile
from prunnet.profile.units import BYTES_PER_UNIT
from prunnet.solver.candidates import Candidate
from prunnet.solver.plan import show
from runtime_py.bundle.manifest import BudgetCheck, BudgetName, Granularity, Precision, Target

_SHRINKING: dict[str, tuple[str, ...]] = {
    "max_artifact": ("a smaller backbone",),
    "max_peak_memory": ("a smaller input", "a smaller backbone"),
    "max_mflops": ("a smaller input", "a smaller backbone"),
    "max_latency_ms": ("a smaller input", "a smaller backbone"),
}
"""What lowers each cost at the same capacity, besides a narrower precision."""


_NARROWER: dict[Target, Precision] = {"coreml": "palette6", "executorch-coreml": "fp16"}
"""What helps where int8 is not offered."""


def _narrower(target: Target, budget: str) -> tuple[Precision, ...]:
    """Return the precision that lowers a cost; for Core ML none is known to save time."""
    if budget == "max_mflops" or (target in _NARROWER and budget == "max_latency_ms"):
        return ()
    return (_NARROWER.get(target, "int8"),)


def _saved(target: Target, budget: str) -> str:
    """Return what masked weights save of a budget."""
    if target == "coreml" and budget == "max_artifact":
        return "still take a bit each"
    if target == "coreml" and budget == "max_peak_memory":
        return "are unfolded when it loads"
    return "save nothing"


def why_not_larger(larger: Candidate | None, below: float | None, budgets: Budgets) -> str:
    """Return why the plan stops where it does.

    Args:
        larger: The next larger capacity, None if there is none.
        below: The step-down bound, if any.
        budgets: Of the profile, for the units in which they are written.
    """
    if larger is None:
        return "nothing larger exists: this is the dense encoder"
    broken = sorted((c for c in larger.checks if not c.fits), key=lambda c: c.limit / c.predicted)
    if not broken:
        return f"capacities from {below:.4f} up were ruled out, though {larger.asked:.4f} is predicted to fit"
    also = f"; it would break {', '.join(check.budget for check in broken[1:])} too" if broken[1:] else ""
    return f"the next larger capacity {larger.asked:.4f} breaks {_excess(broken[0], budgets)}{also}"


def infeasible(
    profile: DeviceProfile,
    target: Target,
    smallest: Candidate,
    precisions: Collection[Precision],
    granularity: Granularity,
    untrained: float | None,
) -> InfeasibleError:
    """Return the error for a profile that not even the smallest allowed capacity fits.

    Args:
        profile: The profile.
        target: Format that was planned for.
        smallest: The smallest capacity that may be chosen.
        precisions: Precisions that were allowed; another may help.
        granularity: Of the encoder's pruning.
        untrained: The largest capacity that would fit but lies below the trained ones, if any.
    """
    check = max((c for c in smallest.checks if not c.fits), key=lambda c: c.predicted / c.limit)
    narrower = (each for each in _narrower(target, check.budget) if each not in precisions)
    helps = [*narrower, *_SHRINKING[check.budget]]
    if profile.raw_input is not None and check.budget != "max_artifact":
        helps.insert(0, "another size of raw_input, or none")
    if granularity == "weight":
        helps.insert(0, f"an encoder of granularity channel (masked weights {_saved(target, check.budget)})")
    remedy = (
        f"That is at capacity {smallest.asked:.4f}. What would help: {', '.join(helps)}, or a larger budget"
    )
    if untrained is not None:
        remedy += (
            f". Capacity {untrained:.4f} fits, but the encoder was not trained below {smallest.asked:.4f}: "
            "train it with a smaller capacity among its training capacities"
        )
    return InfeasibleError(
        profile.name,
        check.budget,
        check.limit,
        check.predicted,
        check.unit,
        remedy,
        written(profile.budgets, check.budget),
    )


def written(budgets: Budgets, budget: BudgetName) -> tuple[str, int]:
    """Return the unit in which a profile writes a budget of bytes, with its size; MiB for any other."""
    unit = budgets.unit_of(budget) or "MiB"
    return unit, BYTES_PER_UNIT[unit]


def nothing_below(
    profile: DeviceProfile, target: Target, below: float | None, smallest: float
) -> InfeasibleError:
    """Return the error for a step down that has nowhere to go.

    Args:
        profile: The profile.
        target: Format that was planned for.
        below: Only smaller capacities were allowed.
        smallest: The smallest capacity that may be chosen.
    """
    limit = 1.0 if below is None else below
    return InfeasibleError(
        profile.name,
        "capacity",
        limit,
        smallest,
        "of the dense encoder",
        "Only smaller capacities were allowed, and there is none. What would help: a larger budget, "
        f"{_narrower(target, 'max_artifact')[0]}, a smaller input, a smaller backbone",
    )


def _excess(check: BudgetCheck, budgets: Budgets) -> str:
    unit = budgets.unit_of(check.budget)
    needed, limit = show(check.predicted, check.unit, unit), show(check.limit, check.unit, unit)
    over = f", {100 * (check.predicted / check.limit - 1):.2g}% over it" if needed == limit else ""
    return f"{check.budget}: it needs {needed}, the limit is {limit}{over}"
