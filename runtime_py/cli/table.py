"""Outcomes as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_py.cli.outcome import Outcome
from runtime_py.table import align

_HEADER = ("bundle", "verdict", "min cos", "mean cos", "top-1", "R@1 (dense)", "mAP (dense)", "runtime")


def table(outcomes: Sequence[Outcome]) -> str:
    """Render outcomes as an aligned table, with the reasons below it."""
    rows = [_HEADER, *(_row(outcome) for outcome in outcomes)]
    rules = ["-" * max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = align([rows[0], rules, *rows[1:]], left=len(_HEADER))
    for outcome in outcomes:
        if outcome.verdict != "compatible":
            lines += ["", f"{outcome.bundle}: {outcome.verdict}"]
            lines += [f"  - {reason}" for reason in outcome.reasons]
        if outcome.report and outcome.report.notes:
            lines += ["", *(f"{outcome.bundle}: {note}" for note in outcome.report.notes)]
    return "\n".join(lines)


def _row(outcome: Outcome) -> tuple[str, ...]:
    report = outcome.report
    if report is None or report.figures is None:
        figures = ("-",) * 5
    else:
        of = report.figures
        figures = (
            f"{of.min_cosine:.6f}",
            f"{of.mean_cosine:.6f}",
            f"{of.top1_agreement:.3f}",
            f"{of.recall_at_1:.3f} ({of.recall_at_1_dense:.3f})",
            f"{of.map:.3f} ({of.map_dense:.3f})",
        )
    return (str(outcome.bundle), outcome.verdict, *figures, report.runtime if report else "-")
