"""Which of the allowed precisions: the one that is expected to retrieve best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prunnet.cost.loss import map_loss
from prunnet.errors import InfeasibleError
from prunnet.solver.plan import Plan, Rejected
from runtime_py.bundle.manifest import Precision
from runtime_py.errors import IncompatibleError

Refusal = InfeasibleError | IncompatibleError
"""Why there is no plan in a precision: no capacity fits, or what was exported loses too much."""


def choose(found: Mapping[Precision, Plan | Refusal]) -> Plan:
    """Return the plan that is expected to retrieve best, with why not the others.

    Without an accuracy curve the largest capacity is taken. A tie goes to the precision that is expected to cost less,
    then to the one that the profile lists first.

    Args:
        found: The plan in each precision that the profile allows, in its order; or why there is none.

    Raises:
        InfeasibleError: There is no plan; the precision that comes nearest to fitting, and what the others lack.
        IncompatibleError: There is no plan, and what did fit loses too much.
    """
    plans = [each for each in found.values() if isinstance(each, Plan)]
    if not plans:
        raise _none_left({name: each for name, each in found.items() if not isinstance(each, Plan)})
    best = max(plans, key=_merit)
    rejected = (Rejected(name, _why(each, best)) for name, each in found.items() if name != best.precision)
    return replace(best, rejected=tuple(rejected))


def _merit(plan: Plan) -> tuple[float, float]:
    quality = plan.capacity if plan.expected_map is None else plan.expected_map
    return quality, -map_loss(plan.target, plan.precision)


def _why(other: Plan | Refusal, best: Plan) -> str:
    if not isinstance(other, Plan):
        return str(other)
    if other.expected_map is None or best.expected_map is None:
        return f"the largest capacity that fits is {other.capacity:.4f}"
    return f"mAP {other.expected_map:.2f} is expected at its largest capacity, {other.capacity:.4f}"


def _none_left(refusals: Mapping[Precision, Refusal]) -> Refusal:
    """Return the refusal of one precision, with the others'. What fits and loses too much comes first."""
    lossy = [name for name, each in refusals.items() if isinstance(each, IncompatibleError)]
    first = lossy[0] if lossy else min(refusals, key=lambda name: _excess(refusals[name]))
    error, others = (
        refusals[first],
        [f"In {name}: {each}" for name, each in refusals.items() if name != first],
    )
    if not others:
        return error
    if isinstance(error, IncompatibleError):
        return IncompatibleError(". ".join((str(error), *others)))
    remedy = ". ".join((error.remedy, f"That is in {first}", *others))
    return InfeasibleError(
        error.profile, error.budget, error.limit, error.reachable, error.unit, remedy, error.written
    )


def _excess(refusal: Refusal) -> float:
    return refusal.reachable / refusal.limit if isinstance(refusal, InfeasibleError) else 0.0
