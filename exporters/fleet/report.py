"""What the command says in the end: tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from exporters.fleet.fleet import Outcome
from exporters.fleet.job import Failure
from exporters.pipeline.export import Exported
from prunnet.profile import BUDGET_UNITS, Budgets
from prunnet.solver import Plan
from prunnet.solver.plan import show
from runtime_py.bundle.manifest import BudgetCheck, Cost
from runtime_py.table import align

HEADER = ("budget", "limit", "predicted", "measured", "slack")


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Return one block for each outcome, and a summary line if there are several."""
    blocks = ["\n".join(_block(outcome)) for outcome in outcomes]
    failed = [outcome.job.label for outcome in outcomes if outcome.exit_code]
    if len(outcomes) > 1:
        blocks.append(f"{len(outcomes) - len(failed)} of {len(outcomes)} succeeded")
        blocks[-1] += f"; failed: {', '.join(failed)}" if failed else ""
    return "\n\n".join(blocks)


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Return a JSON list with one object for each outcome."""
    return json.dumps([_record(outcome) for outcome in outcomes], indent=2)


def _block(outcome: Outcome) -> list[str]:
    result = outcome.result
    if isinstance(result, Failure):
        lines = [f"{outcome.job.label}: FAILED (exit {result.exit_code})"]
        lines += [f"  {result.kind}: {result.message}"]
        return lines + ([f"  log: {result.log}"] if result.log else [])
    plan = _plan(outcome)
    lines = [
        f"{outcome.job.label} ({plan.precision}): capacity {plan.capacity:.4f}, "
        f"{plan.granularity} granularity, channels in multiples of {plan.channel_multiple}"
    ]
    lines += [
        f"  {line}" for line in align([HEADER, *_rows(plan, result, outcome.job.profile.budgets)], left=1)
    ]
    if plan.predicted.latency_ms is not None and not plan.predicted.latency_calibrated:
        lines.append("  * the latency model is not calibrated on this device")
    lines.append(f"  why not larger: {plan.why_not_larger}")
    if plan.rejected and plan.expected_map is not None:
        lines.append(f"  expected in {plan.precision}: mAP {plan.expected_map:.2f}")
    lines += [f"  why not {each.precision}: {each.why}" for each in plan.rejected]
    if result is None:
        return [*lines, "  dry run: nothing was exported"]
    drift = result.manifest.drift
    lines += [f"  {line}" for line in (*result.steps, *result.notes)]
    lines.append(f"  verdict: {drift.verdict} on {drift.runtime}")
    if drift.figures:
        figures = drift.figures
        lines.append(
            f"    parity: min cosine {figures.min_cosine:.6f}, mean {figures.mean_cosine:.6f}, "
            f"nearest neighbour agrees {figures.top1_agreement:.1%} ({figures.probes} probes)"
        )
        lines.append(
            f"    against the dense gallery: Recall@1 {figures.recall_at_1:.1%} "
            f"(dense {figures.recall_at_1_dense:.1%}), mAP {figures.map:.1%} (dense {figures.map_dense:.1%})"
        )
    lines += [f"    {reason}" for reason in drift.reasons]
    return [*lines, f"  bundle: {result.path}"]


def _plan(outcome: Outcome) -> Plan:
    plan = outcome.result.plan if isinstance(outcome.result, Exported) else outcome.job.plan
    assert plan is not None, "an outcome without a failure has a plan"
    return plan


def _rows(plan: Plan, result: Exported | None, budgets: Budgets) -> list[tuple[str, ...]]:
    """Return a row for every kind of cost, limited or not, in the units that the profile is written in."""
    checked = result.manifest.budgets if result else plan.budgets
    checks: dict[str, BudgetCheck] = {check.budget: check for check in checked}
    measured = result.manifest.measured if result else Cost()
    rows: list[tuple[str, ...]] = []
    for name, unit in BUDGET_UNITS.items():
        check, predicted, found = checks.get(name), plan.predicted.of(name), measured.of(name)
        best = predicted if found is None else found
        slack = "-" if check is None or best is None else f"{1 - best / check.limit:.1%}"
        note = "*" if unit == "ms" and predicted is not None and not plan.predicted.latency_calibrated else ""
        rows.append(
            (
                f"{name}{' (binding)' if name == plan.binding else ''}",
                show(check.limit, unit, budgets.unit_of(name)) if check else "unlimited",
                "-" if predicted is None else show(predicted, unit, budgets.unit_of(name)) + note,
                "-" if found is None else show(found, unit, budgets.unit_of(name)),
                slack,
            )
        )
    return rows


def _record(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    record: dict[str, Any] = {
        "profile": outcome.job.profile.name,
        "target": outcome.job.target,
        "exit_code": outcome.exit_code,
    }
    if isinstance(result, Failure):
        log = str(result.log) if result.log else None
        return record | {"error": {"kind": result.kind, "message": result.message, "log": log}}
    plan = _plan(outcome)
    budgets = result.manifest.budgets if result else plan.budgets
    record |= {
        "precision": plan.precision,
        "capacity": plan.capacity,
        "capacity_asked": plan.capacity_asked,
        "granularity": plan.granularity,
        "channel_multiple": plan.channel_multiple,
        "binding": plan.binding,
        "why_not_larger": plan.why_not_larger,
        "expected_map": plan.expected_map,
        "rejected": [asdict(each) for each in plan.rejected],
        "predicted": plan.predicted.model_dump(mode="json"),
        "budgets": [check.model_dump(mode="json") for check in budgets],
    }
    if result is None:
        return record
    return record | {
        "bundle": str(result.path),
        "measured": result.manifest.measured.model_dump(mode="json"),
        "drift": result.manifest.drift.model_dump(mode="json"),
        "notes": list(result.notes),
        "steps": list(result.steps),
    }
