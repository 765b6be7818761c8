"""A file with the figures of each bundle, so that a change is seen even where every gate still passes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from runtime_py.cli.report_file import write_report
from runtime_py.errors import BundleError
from runtime_py.record import Record

if TYPE_CHECKING:
    from runtime_py.check.report import DriftReport
    from runtime_py.cli.outcome import Outcome

MOST_BYTES = 4 * 2**20
"""A bundle takes half a kilobyte."""
_ROUNDING = 1e-9
"""Slack of the comparison; see `runtime_py.check.gates`."""

Move = Annotated[float, Field(ge=0, le=2)]


class Moves(Record):
    """How far each figure may move, up or down, before a check fails."""

    min_cosine: Move = 1e-3
    """Smallest cosine with the torch subnetwork."""
    mean_cosine: Move = 1e-4
    """Mean of the same."""
    mean_cosine_to_dense: Move = 1e-4
    """Mean cosine with the dense encoder."""
    recall_at_1: Move = 0.005
    """Recall@1 in the dense gallery."""
    map: Move = 0.005
    """Mean average precision there."""
    instructions: Move = 0.05
    """Instructions of one embedding on an emulated processor, as a share of what they were."""


class Kept(Record):
    """The figures of one bundle when the baseline was updated."""

    min_cosine: float
    """Smallest cosine with the torch subnetwork."""
    mean_cosine: float
    """Mean of the same."""
    mean_cosine_to_dense: float
    """Mean cosine with the dense encoder."""
    recall_at_1: float
    """Recall@1 in the dense gallery."""
    map: float
    """Mean average precision there."""
    instructions: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Emulated processor -> instructions of one embedding on it, if they were counted."""
    runtime: str
    """What ran the artifact."""
    prunnet_version: str
    """Version that wrote the bundle."""


class Baseline(Record):
    """The whole file."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    tolerances: Moves = Moves()
    """How far each figure may move."""
    bundles: dict[str, Kept]
    """Profile, target, precision and encoder of a bundle, joined by "/" -> its figures."""


@dataclass(frozen=True)
class Moved:
    """One figure beside what it was; judged like a gate."""

    name: str
    """For example "baseline.mean_cosine"."""
    then: float
    now: float
    tolerance: float
    relative: bool = False
    """Whether `value` and `tolerance` are shares of what it was."""

    @property
    def value(self) -> float:
        """How far it moved, either way."""
        return abs(self.now - self.then) / (self.then if self.relative else 1)

    @property
    def passed(self) -> bool:
        """Whether it moved by no more than its tolerance."""
        return self.value <= self.tolerance + _ROUNDING

    @property
    def allowed(self) -> str:
        """The tolerance for people."""
        return self._amount(self.tolerance)

    def _amount(self, value: float) -> str:
        return f"{value * 100:.3g} %" if self.relative else f"{value:.3g}"

    def __str__(self) -> str:
        change = f"{self.name} was {self.then:.8g} and is {self.now:.8g}"
        if self.passed:
            return f"{change}, a move of at most {self.allowed} is allowed"
        # Fewer instructions are no worse; of the other figures more is better.
        rose = "rose" if self.relative else "improved"
        how = rose if self.now > self.then else "fell"
        return (
            f"{change}: it {how} by {self._amount(self.value)}, at most {self.allowed} is allowed; "
            "if the change is meant, update the baseline (--update-baseline)"
        )


def read_baseline(file: Path) -> Baseline:
    """Read a baseline.

    Raises:
        BundleError: It is absent or damaged; the error lists every field at fault.
    """
    remedy = "restore it, or remove it and make it anew with --update-baseline"
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise BundleError(file, "does not exist", "make it with --update-baseline") from error
    except OSError as error:
        raise BundleError(file, f"cannot be read ({error.strerror})", "choose another file") from error
    if len(content) > MOST_BYTES:
        raise BundleError(file, f"has more than {MOST_BYTES:,} bytes, so it is not a baseline", remedy)
    try:
        json.loads(content, object_pairs_hook=_unique)
        return Baseline.model_validate_json(content, strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"field {'.'.join(map(str, each['loc'])) or 'of the file'}: {each['msg']}"
            for each in error.errors()
        )
        raise BundleError(file, f"is not a baseline ({problems})", remedy) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(file, f"is not JSON ({error})", remedy) from error


def compare(baseline: Baseline, file: Path, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Hold outcomes against a baseline.

    Args:
        baseline: What was read from `file`.
        file: Named in errors.
        outcomes: Of every bundle that was checked.

    Returns:
        The outcomes with what moved; then one error that lists every bundle that the baseline has not, that was not
        checked, whose instructions could not be compared although that was asked for, or that cannot be told from
        another; none if there are no such bundles.
    """
    judged = []
    uncompared = []
    for outcome in outcomes:
        kept = baseline.bundles.get(outcome.about.key) if outcome.about else None
        if kept is None or outcome.report is None or outcome.report.figures is None:
            judged.append(outcome)
            continue
        moved = [
            Moved(f"baseline.{name}", getattr(kept, name), getattr(outcome.report.figures, name), allowed)
            for name, allowed in baseline.tolerances
            if name != "instructions"
        ]
        for cpu, now in _instructions(outcome.report).items():
            if cpu in kept.instructions:
                then, allowed = kept.instructions[cpu], baseline.tolerances.instructions
                moved.append(Moved("baseline.instructions", then, now, allowed, relative=True))
        uncompared += _uncompared(kept, outcome)
        judged.append(replace(outcome, moved=tuple(moved)))
    counts = Counter(outcome.about.key for outcome in outcomes if outcome.about)
    problems = [
        *_alike(counts),
        *uncompared,
        *(f"{key} is not in the baseline" for key in sorted(counts.keys() - baseline.bundles.keys())),
        *(
            f"{key} is in the baseline and was not checked (an update drops it: name its folder too if it still ships)"
            for key in sorted(baseline.bundles.keys() - counts)
        ),
    ]
    if problems:
        judged.append(_error(file, problems, "if that is meant, update the baseline (--update-baseline)"))
    return judged


def update(file: Path, baseline: Baseline, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Write the figures of all bundles, in place of what the file holds; only if all are compatible.

    Instructions that were not counted now stay as they were.

    Args:
        file: Where to.
        baseline: What it holds; its tolerances stay.
        outcomes: Of every bundle that was checked.

    Returns:
        The outcomes; and one error if nothing was written, because a bundle is not compatible or cannot be told from
        another.

    Raises:
        BundleError: The disk refuses.
    """
    bundles: dict[str, Kept] = {}
    problems = []
    for outcome in outcomes:
        if outcome.verdict != "compatible" or outcome.about is None or outcome.report is None:
            problems.append(f"{outcome.bundle} is not compatible")
            continue
        figures = outcome.report.figures
        assert figures is not None, "a compatible report has figures"
        bundles[outcome.about.key] = Kept(
            min_cosine=figures.min_cosine,
            mean_cosine=figures.mean_cosine,
            mean_cosine_to_dense=figures.mean_cosine_to_dense,
            recall_at_1=figures.recall_at_1,
            map=figures.map,
            instructions=_kept_instructions(baseline, outcome.about.key) | _instructions(outcome.report),
            runtime=outcome.report.runtime,
            prunnet_version=outcome.about.prunnet_version,
        )
    problems += _alike(Counter(outcome.about.key for outcome in outcomes if outcome.about))
    if problems:
        return [*outcomes, _error(file, ["was not updated", *problems], "mend these first")]
    body = Baseline(tolerances=baseline.tolerances, bundles=bundles).model_dump(mode="json")
    write_report(file, (json.dumps(body, indent=2, sort_keys=True) + "\n").encode())
    return list(outcomes)


def _instructions(report: DriftReport) -> dict[str, int]:
    """Return the counted instructions of an embedding by processor."""
    device = report.device
    return {} if device is None or device.instructions is None else {device.cpu: device.instructions}


def _kept_instructions(baseline: Baseline, key: str) -> dict[str, int]:
    return dict(baseline.bundles[key].instructions) if key in baseline.bundles else {}


def _uncompared(kept: Kept, outcome: Outcome) -> list[str]:
    """Say if instructions were to be counted, and there was nothing to compare on one of the two sides."""
    device = None if outcome.report is None else outcome.report.device
    if device is None or outcome.about is None:
        return []
    key = outcome.about.key
    if device.instructions is not None and device.cpu not in kept.instructions:
        return [f"{key} has no instructions on {device.cpu} in the baseline"]
    if device.not_counted and kept.instructions:
        return [f"{key} has instructions in the baseline, and they were not counted ({device.not_counted})"]
    return []


def _alike(counts: Counter[str]) -> list[str]:
    return [f"{count} bundles are {key}" for key, count in sorted(counts.items()) if count > 1]


def _error(file: Path, problems: list[str], remedy: str) -> Outcome:
    from runtime_py.cli.outcome import Outcome

    return Outcome(file, error=BundleError(file, "; ".join(problems), remedy))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"a key occurs twice: {', '.join(repeated)}")
    return dict(pairs)
