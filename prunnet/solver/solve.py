"""Finds the largest subnetwork that a device affords, and the precision for it."""

from __future__ import annotations

from dataclasses import replace

from prunnet.cost.loss import map_loss
from prunnet.errors import EncoderError, InfeasibleError, ProfileError, UnknownNameError
from prunnet.profile import OFFERED, DeviceProfile
from prunnet.solver.candidates import Candidate, Candidates
from prunnet.solver.choose import choose
from prunnet.solver.explain import infeasible, nothing_below, why_not_larger
from prunnet.solver.plan import Plan
from prunnet.solver.protocol import Packaged, Prunable
from runtime_py.bundle.manifest import Precision, Target


def solve(
    encoder: Prunable | Packaged,
    profile: DeviceProfile,
    target: Target,
    *,
    precision: Precision | None = None,
    below: float | None = None,
    min_capacity: float | None = None,
) -> Plan:
    """Return the plan with the largest capacity whose predicted costs fit every budget of the profile.

    Bisects over the achievable capacities: every cost grows with the capacity, because channels are kept in a
    fixed order of importance and never dropped again. (Where only large tensors are compressed, a layer that becomes
    one takes fewer bytes than before: there it tries one after the other, from the largest.) Of several precisions it
    takes the one whose plan is expected to retrieve best, and says why not the others.

    Args:
        encoder: The encoder, or its package.
        profile: Budgets, precisions and latency coefficients.
        target: One of the profile's targets.
        precision: This one alone, instead of the profile's.
        below: Only capacities strictly smaller than this: the next step down after a measured violation.
        min_capacity: Nothing smaller is chosen; None means the least that the package was trained at, or any capacity
            of an encoder without a package.

    Raises:
        ProfileError: The profile does not list the target, or has a latency budget without coefficients for a
            precision.
        UnknownNameError: The target does not offer the precision.
        EncoderError: The package's accuracy curve is malformed, or `below` or `min_capacity` is not a capacity.
        InfeasibleError: No capacity fits, in any of the precisions.
    """
    if target not in profile.targets:
        raise ProfileError(
            profile.name,
            f"has no target {target!r}; add it, or take another target",
            field="targets",
            allowed=", ".join(profile.targets),
        )
    if precision is not None and precision not in OFFERED[target]:
        raise UnknownNameError(f"precision of {target}", precision, OFFERED[target])
    if below is not None and not below > 0:
        raise EncoderError(f"below is {below!r}; it must be a capacity above 0")
    if min_capacity is not None and not 0 <= min_capacity <= 1:
        raise EncoderError(f"min_capacity is {min_capacity!r}; it must be in [0, 1]")
    found: dict[Precision, Plan | InfeasibleError] = {}
    for each in (precision,) if precision else profile.precisions_of(target):
        try:
            found[each] = _largest(encoder, profile, target, each, below, min_capacity)
        except InfeasibleError as error:
            found[each] = error
    return choose(found)


def _largest(
    encoder: Prunable | Packaged,
    profile: DeviceProfile,
    target: Target,
    precision: Precision,
    below: float | None,
    min_capacity: float | None,
) -> Plan:
    prunable, trained = (
        (encoder.prunable, encoder.min_capacity) if isinstance(encoder, Packaged) else (encoder, 0.0)
    )
    min_capacity = trained if min_capacity is None else min_capacity
    if profile.budgets.max_latency_ms is not None and profile.latency_of(target, precision) is None:
        raise ProfileError(
            profile.name,
            f"a latency budget needs latency coefficients for {target} at {precision}",
            field=f"latency.{target}.{precision}",
            allowed="the coefficients, another precision, or no max_latency_ms",
        )
    candidates = Candidates(prunable, profile, target, precision)
    # A coarse multiple may leave no subnetwork as small as the least that was trained: then any may be chosen.
    coarse = min_capacity < candidates.capacities[0]
    floor = 0.0 if coarse else prunable.at(min_capacity, profile.channel_multiple).achieved
    allowed = [c for c in candidates.capacities if c >= floor and (below is None or c < below)]
    if not allowed:
        raise nothing_below(profile, target, below, max(floor, candidates.capacities[0]))
    best = _largest_fitting(candidates, allowed)
    if best is None:
        smaller = [c for c in candidates.capacities if c < floor]
        untrained = _largest_fitting(candidates, smaller)
        fitting = untrained.asked if untrained else None
        tried = {precision, *profile.precisions_of(target)}
        least = _least(candidates, allowed)
        raise infeasible(profile, target, least, tried, candidates.granularity, fitting)
    larger = next((candidates.at(c) for c in candidates.capacities if c > best.asked), None)
    reason = why_not_larger(larger, below, profile.budgets)
    plan = Plan(
        profile=profile.name,
        target=target,
        precision=precision,
        granularity=candidates.granularity,
        channel_multiple=profile.channel_multiple,
        capacity=prunable.at(best.asked, profile.channel_multiple).achieved,
        capacity_asked=best.asked,
        predicted=best.cost,
        budgets=best.checks,
        binding=larger.worst.budget if larger and larger.worst and not larger.fits else None,
        why_not_larger=reason,
    )
    reached = encoder.expected_map(plan.capacity) if isinstance(encoder, Packaged) else None
    return plan if reached is None else replace(plan, expected_map=reached - map_loss(target, precision))


def _largest_fitting(candidates: Candidates, ascending: list[float]) -> Candidate | None:
    """Return the largest capacity that fits; None if there is none."""
    if not candidates.grow:
        return next((each for each in map(candidates.at, reversed(ascending)) if each.fits), None)
    if not ascending or not candidates.at(ascending[0]).fits:
        return None
    if candidates.at(ascending[-1]).fits:
        return candidates.at(ascending[-1])
    low, high = 0, len(ascending) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if candidates.at(ascending[middle]).fits:
            low = middle
        else:
            high = middle
    return candidates.at(ascending[low])


def _least(candidates: Candidates, ascending: list[float]) -> Candidate:
    """Return the capacity that comes nearest to the budgets when none fits."""
    if candidates.grow:
        return candidates.at(ascending[0])
    return min(
        map(candidates.at, ascending), key=lambda each: max(c.predicted / c.limit for c in each.checks)
    )
