"""The solver's slow reference: cost every capacity, keep the largest that fits."""

from __future__ import annotations

from prunnet.cost import estimate, trace
from prunnet.profile import DeviceProfile
from prunnet.solver import Prunable
from runtime_py.bundle.manifest import Cost, Target


def every_cost(prunable: Prunable, profile: DeviceProfile, target: Target) -> dict[float, Cost]:
    """Capacity -> predicted cost in the profile's one precision, traced afresh."""
    (precision,) = profile.precisions_of(target)
    multiple = profile.channel_multiple
    return {
        capacity: estimate(
            trace(
                prunable.at(capacity, multiple).skeleton(),
                prunable.input_shape,
                prunable.at(capacity, multiple).zeros(),
            ),
            profile,
            target,
            precision,
        )
        for capacity in prunable.capacities(multiple)
    }


def fits(cost: Cost, profile: DeviceProfile) -> bool:
    """Compare field by field, without the solver's own tables."""
    budgets = profile.budgets
    pairs = [
        (budgets.max_artifact, cost.artifact_bytes),
        (budgets.max_peak_memory, cost.peak_memory_bytes),
        (budgets.max_mflops, cost.mflops),
        (budgets.max_latency_ms, cost.latency_ms),
    ]
    return all(limit is None or value is None or value <= limit for limit, value in pairs)


def largest(costs: dict[float, Cost], profile: DeviceProfile, below: float, least: float) -> float | None:
    """The largest fitting capacity in [least, below), or None."""
    fitting = [c for c, cost in costs.items() if least <= c < below and fits(cost, profile)]
    return max(fitting, default=None)
