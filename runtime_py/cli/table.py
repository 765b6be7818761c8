"""Outcomes as a table for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runtime_py.cli.outcome import Outcome
from runtime_py.shell import readable
from runtime_py.table import align

_HEADER = ("bundle", "verdict", "min cos", "mean cos", "top-1", "R@1 (dense)", "mAP (dense)", "runtime")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What a terminal obeys: a folder's name could colour the report, or write a line of it."""


def table(outcomes: Sequence[Outcome]) -> str:
    r"""Render outcomes as an aligned table, with the reasons below it; control characters are spelled: \n, \x1b."""
    rows = [_HEADER, *(_row(outcome) for outcome in outcomes)]
    rules = ["-" * max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = align([rows[0], rules, *rows[1:]], left=len(_HEADER))
    for outcome in outcomes:
        if outcome.verdict != "compatible":
            lines += ["", f"{_spelled(str(outcome.bundle))}: {outcome.verdict}"]
            lines += [f"  - {_spelled(reason)}" for reason in outcome.reasons]
        if outcome.report and outcome.report.notes:
            lines += ["", *(_spelled(f"{outcome.bundle}: {note}") for note in outcome.report.notes)]
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
    return (_spelled(str(outcome.bundle)), outcome.verdict, *figures, report.runtime if report else "-")


def _spelled(text: str) -> str:
    return _CONTROL.sub(lambda found: readable(found.group()), text)
