"""The solver's answer."""

from __future__ import annotations

from dataclasses import dataclass

from prunnet.profile import BUDGET_UNITS, format_bytes
from runtime_py.manifest import BudgetCheck, Cost, Granularity, Precision, Target


@dataclass(frozen=True)
class Plan:
    """The largest capacity that a profile affords on one target."""

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

    @property
    def slack(self) -> dict[str, float]:
        """What is left of each budget, as a fraction of its limit in [0, 1]."""
        return {check.budget: 1 - check.predicted / check.limit for check in self.budgets}


@dataclass(frozen=True)
class PlanRow:
    """One line of the table that commands print: every value is text."""

    budget: str
    predicted: str
    limit: str
    slack: str
    binding: bool


@dataclass(frozen=True)
class PlanTable:
    """A plan as a table."""

    title: str
    rows: tuple[PlanRow, ...]
    """One for each kind of budget, in a fixed order; without a limit it reads "unlimited"."""
    footer: str


def plan_table(plan: Plan) -> PlanTable:
    """Return the plan as text cells.

    Args:
        plan: What `solve` returned.
    """
    checks = {check.budget: check for check in plan.budgets}
    rows = []
    for budget, unit in BUDGET_UNITS.items():
        check = checks.get(budget)
        value = predicted_value(plan.predicted, budget)
        note = " (not calibrated)" if unit == "ms" and not plan.predicted.latency_calibrated else ""
        rows.append(
            PlanRow(
                budget=budget,
                predicted="not predictable" if value is None else show(value, unit) + note,
                limit=show(check.limit, unit) if check else "unlimited",
                slack=f"{plan.slack[budget]:.1%}" if check else "-",
                binding=budget == plan.binding,
            )
        )
    title = (
        f"{plan.profile} / {plan.target} / {plan.precision}: capacity {plan.capacity:.4f} "
        f"({plan.granularity}, channels in multiples of {plan.channel_multiple})"
    )
    return PlanTable(title, tuple(rows), plan.why_not_larger)


def predicted_value(cost: Cost, budget: str) -> float | None:
    """Return the figure of a cost that a budget limits, in the budget's unit."""
    figures: dict[str, float | None] = {
        "max_artifact": cost.artifact_bytes,
        "max_peak_memory": cost.peak_memory_bytes,
        "max_mflops": cost.mflops,
        "max_latency_ms": cost.latency_ms,
    }
    return figures[budget]


def show(value: float, unit: str) -> str:
    """Return a figure with its unit, for people."""
    return format_bytes(value) if unit == "bytes" else f"{value:.4g} {unit}"
