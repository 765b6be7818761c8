"""The solver's answer."""

from __future__ import annotations

from dataclasses import dataclass

from prunnet.profile import format_bytes
from runtime_py.bundle.manifest import BudgetCheck, Cost, Granularity, Precision, Target


@dataclass(frozen=True)
class Rejected:
    """Another precision that the profile allows."""

    precision: Precision
    why: str
    """A sentence for people."""


@dataclass(frozen=True)
class Plan:
    """The largest capacity that a profile affords on one target, in the precision that is expected to retrieve best."""

    profile: str
    target: Target
    precision: Precision
    granularity: Granularity
    channel_multiple: int
    capacity: float
    """Achieved: kept / dense prunable parameters, in (0, 1]."""
    capacity_asked: float
    """What to pass to `extract`; at least `capacity`."""
    predicted: Cost
    budgets: tuple[BudgetCheck, ...]
    """One for every budget that the profile sets; all fit."""
    binding: str | None
    """The budget that the next larger capacity breaks; None if nothing is larger."""
    why_not_larger: str
    """A sentence for people."""
    expected_map: float | None = None
    """Mean average precision of its queries in the dense gallery, in points (0..100): what the package's curve says of
    the capacity, less what the precision is expected to cost. None without a curve."""
    rejected: tuple[Rejected, ...] = ()
    """The other precisions that the profile allows."""

    @property
    def slack(self) -> dict[str, float]:
        """What is left of each budget, as a fraction of its limit in [0, 1]."""
        return {check.budget: 1 - check.predicted / check.limit for check in self.budgets}


def show(value: float, unit: str, written: str | None = None) -> str:
    """Return a figure with its unit, for people; bytes in the unit that the profile is `written` in, if any."""
    return format_bytes(value, written) if unit == "bytes" else f"{value:.4g} {unit}"
