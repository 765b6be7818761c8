"""Tables of the measured methods: methods down, capacities or sizes across, means of seeds in the cells."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from prunnet.evaluate.comparison import compare

Runs = dict[str, list[dict[str, Any]]]
"""Method -> its runs, one for each seed."""
Figure = TypeVar("Figure")


def spread(values: Sequence[float]) -> str:
    """Return mean and, of several, standard deviation."""
    mean = statistics.fmean(values)
    return f"{mean:z.1f}" if len(values) == 1 else f"{mean:z.1f} ± {statistics.stdev(values):.1f}"


def at(run: dict[str, Any], capacity: float) -> dict[str, Any] | None:
    return next((row for row in run["rows"] if row["capacity"] == capacity), None)


def by_capacity(
    runs: Runs,
    capacities: Sequence[float],
    figure: Callable[[dict[str, Any]], Figure],
    show: Callable[[Sequence[Figure]], str] = spread,
) -> list[str]:
    """Return a table: methods down, capacities across."""
    lines = [f"| method | {' | '.join(f'{c:g}' for c in capacities)} |", "|---" * (len(capacities) + 1) + "|"]
    for method, done in runs.items():
        cells = []
        for capacity in capacities:
            rows = [row for run in done if (row := at(run, capacity))]
            cells.append(show([figure(row) for row in rows]) if rows else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def intervals(runs: Runs, capacities: Sequence[float], figure: str) -> list[str]:
    """Return a table of a figure's bootstrap intervals: the lowest and the highest bound of any seed."""

    def around(bounds: Sequence[tuple[float, float]]) -> str:
        return f"{min(low for low, _ in bounds):z.1f} to {max(high for _, high in bounds):z.1f}"

    return by_capacity(runs, capacities, lambda row: (row[figure]["low"], row[figure]["high"]), around)


def equal_size(runs: Runs, axis: str, shares: Sequence[float]) -> list[str]:
    """Return cross-test mAP at equal shares of the dense network's size, which is one of a row's keys.

    The lines go through all measured points, or through those of the listed capacities where a method trains no others.
    """
    lines = [f"| method | {' | '.join(f'{s:.0%}' for s in shares)} |", "|---" * (len(shares) + 1) + "|"]
    for method, done in runs.items():
        columns: list[list[float]] = [[] for _ in shares]
        for run in done:
            rows = _trained_rows(run)
            sizes = [share * rows[-1][axis] for share in shares]
            for column, reading in zip(
                columns, compare({method: rows}, axis, sizes).readings[method], strict=True
            ):
                if reading.value is not None:
                    column.append(reading.value)
        cells = [spread(column) if len(column) == len(done) else "" for column in columns]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def _trained_rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all rows of a run that draws its capacities or trains none, else those of the listed ones and dense."""
    method, rows = run["recipe"]["method"], run["rows"]
    if not method["capacities"] or method["draw"] == "sandwich":
        return rows
    return [row for row in rows if row["capacity"] in (*method["capacities"], 1.0)]


def unseen(runs: Runs, trained: Sequence[float], measured: Sequence[float]) -> list[str]:
    """Return how far capacities that were not trained lie above the line through those that were."""
    others = [c for c in measured if c not in trained]
    lines = [f"| method | {' | '.join(f'{c:g}' for c in others)} |", "|---" * (len(others) + 1) + "|"]
    for method, done in runs.items():
        cells = []
        for capacity in others:
            gaps = []
            for run in done:
                row = at(run, capacity)
                if row:
                    known = [at(run, c) for c in (*trained, 1.0)]
                    line = np.interp(
                        row["achieved"],
                        [k["achieved"] for k in known if k],
                        [k["cross_map"] for k in known if k],
                    )
                    gaps.append(row["cross_map"] - float(line))
            cells.append(spread(gaps) if gaps else "")
        if any(cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines
