"""What the campaign of faults found, by fault, target and capacity, and the table of docs/research/faults.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_ROUNDING = (
    "it moves the embedding by less than arithmetic in 16 bits may: 1 - cosine of 2e-7 to 5e-4 at the worst probe, "
    "where honest rounding to 16 bits moves the embeddings of other networks by up to 1.4e-4"
)
ACCEPTED = {
    (
        "last convolution lost",
        "upstream",
    ): "a residual network answers nearly as well without it: the drop in mAP "
    "lies within the tolerance, and the reference shares the fault",
    ("BatchNorm eps 1e-3", "fp16"): _ROUNDING,
    ("pixels 2 too bright", "fp16"): _ROUNDING,
    # The float twin of rounded weights on Core ML computes in 16 bits.
    ("BatchNorm eps 1e-3", "int8-weights"): _ROUNDING,
    ("pixels 2 too bright", "int8-weights"): _ROUNDING,
}
"""Faults that no gate has to catch, by how they are made or the precision, with the reason: what the user feels is
within what the application accepts."""


@dataclass(frozen=True)
class Row:
    """One fault on one target at one capacity."""

    fault: str
    how: str
    target: str
    precision: str
    capacity: float
    verdict: str
    gates: tuple[str, ...]

    @property
    def column(self) -> str:
        """The target, with the precision of a quantised artifact."""
        return self.target if self.precision in ("fp32", "fp16") else f"{self.target} {self.precision}"

    @property
    def caught(self) -> bool:
        return self.verdict != "compatible"

    @property
    def wrong(self) -> bool:
        """A fault that passed, or a false alarm."""
        if self.fault == "none":
            return self.caught
        return not self.caught and not self.accepted

    @property
    def accepted(self) -> bool:
        """Whether a gate may let it pass, and a reason says why."""
        return any((self.fault, made) in ACCEPTED for made in (self.how, self.precision))


def read_rows(files: Iterable[Path]) -> list[Row]:
    """Return the rows of JSON files; of the same fault, target and capacity the last one counts."""
    rows = [
        Row(**{**row, "gates": tuple(row["gates"])}) for file in files for row in json.loads(file.read_text())
    ]
    return list({(*kind_of(row), row.column, row.capacity): row for row in rows}.values())


def as_page(rows: list[Row]) -> str:
    """Return the counts and a Markdown table: faults down, targets across, with what caught each at every capacity."""
    targets = list(dict.fromkeys(row.column for row in rows))
    lines = ["| fault | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
    for kind in sorted(dict.fromkeys(map(kind_of, rows)), key=lambda kind: kind[1]):
        cells = [
            _cell([row for row in rows if kind_of(row) == kind and row.column == target])
            for target in targets
        ]
        lines.append(f"| {kind[0]}{f' ({kind[1]})' if kind[1] else ''} | " + " | ".join(cells) + " |")
    return "\n".join([*_counts(rows), "", *lines]) + "\n"


def kind_of(row: Row) -> tuple[str, str]:
    """Return a fault with how it was made, as far as that makes it another fault."""
    return row.fault, row.how if row.how in ("upstream", "reference") else ""


def _cell(rows: list[Row]) -> str:
    """Say what caught a fault: families of gates that failed at every capacity; or where it passed."""
    if not rows:
        return "-"
    passed = [f"{row.capacity:g}" for row in rows if not row.caught]
    if passed and rows[0].fault != "none":
        accepted = rows[0].accepted
        return (
            f"within the tolerance at {', '.join(passed)}"
            if accepted
            else f"**passes at {', '.join(passed)}**"
        )
    families = [
        {gate.split(".")[0] if gate != "chance" else "not verified" for gate in row.gates} for row in rows
    ]
    text = ", ".join(sorted(set.intersection(*families))) or rows[0].verdict
    marks = {"pictures": " (p)", "torch": " (t)"}
    return text + (marks.get(rows[0].how, "") if len({row.how for row in rows}) == 1 else "")


def _counts(rows: list[Row]) -> Iterator[str]:
    honest = [row for row in rows if row.fault == "none"]
    faults = len(rows) - len(honest)
    caught = sum(row.caught for row in rows if row.fault != "none")
    alarms = sum(row.caught for row in honest)
    yield f"{faults} faults, {caught} caught; {len(honest)} honest artifacts, {alarms} false alarms."
    yield ""
    for target in dict.fromkeys(row.column for row in rows):
        tried = Counter(row.capacity for row in rows if row.column == target and row.fault != "none")
        counts = (f"{count} faults at capacity {capacity:g}" for capacity, count in sorted(tried.items()))
        yield f"* {target}: {', '.join(counts)}"
