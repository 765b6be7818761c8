"""Checks many bundles, one outcome each: no bad bundle hides the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.bundle.manifest import Verdict
from runtime_py.check.gates import Gate
from runtime_py.check.report import DriftReport
from runtime_py.cli.about import About
from runtime_py.cli.baseline import Moved
from runtime_py.cli.exhibits import Exhibits, exhibits_of
from runtime_py.errors import (
    BundleError,
    CrashError,
    DeviceError,
    IncompatibleError,
    InferenceError,
    MissingExtraError,
    PrunnetError,
    UnsupportedProgramError,
)
from runtime_py.loading import load, read_manifest


@dataclass(frozen=True)
class Outcome:
    """What the check of one bundle came to: a report, or the error that prevented it."""

    bundle: Path
    report: DriftReport | None = None
    error: PrunnetError | None = None
    about: About | None = None
    """The bundle's own facts; None if its manifest cannot be read, or its check had no end."""
    exhibits: Exhibits | None = None
    """What a page shows beside the figures, if it was asked for."""
    moved: tuple[Moved, ...] = ()
    """Figures beside those of the baseline, if there is one."""

    @property
    def verdict(self) -> Verdict | Literal["moved", "error"]:
        """The report's; `moved` if it is compatible and its figures are not those of the baseline.

        `not verified` if nothing here runs or survives it; `error` for a bad bundle.
        """
        if self.report is not None:
            moved = self.report.verdict == "compatible" and not all(each.passed for each in self.moved)
            return "moved" if moved else self.report.verdict
        if isinstance(self.error, IncompatibleError):
            return "incompatible"
        cannot_run = (MissingExtraError, UnsupportedProgramError, CrashError, DeviceError, InferenceError)
        return "not verified" if isinstance(self.error, cannot_run) else "error"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not `compatible`."""
        if self.report is None:
            return (str(self.error),)
        return (*self.report.reasons, *(str(each) for each in self.moved if not each.passed))

    @property
    def gates(self) -> tuple[Gate | Moved, ...]:
        """Everything that was held against a tolerance."""
        return (*(self.report.gates if self.report else ()), *self.moved)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON types."""
        return {
            "bundle": str(self.bundle),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "report": self.report.to_json() if self.report else None,
            "baseline": [
                {"name": each.name, "then": each.then, "now": each.now, "tolerance": each.tolerance}
                | {"relative": each.relative, "passed": each.passed}
                for each in self.moved
            ],
        }


def check_bundle(
    bundle: Path,
    server: str | Path | None = None,
    device: str | None = None,
    probes: int | None = None,
    *,
    instructions: bool = False,
    exhibits: bool = False,
) -> Outcome:
    """Load and check one bundle; a PrunnetError becomes part of the outcome.

    Args:
        bundle: Its folder.
        server: See `QueryEncoder.check`; for this machine alone.
        device: Where to check it, see `runtime_py.devices.attached.open_device`; None for this machine.
        probes: How many probes to use on the device; None for all.
        instructions: Whether to count the instructions of an embedding there; see `examine_on`.
        exhibits: Whether to make what a page shows, of the embeddings that the check makes.
    """
    about = None
    try:
        about = About.of(read_manifest(bundle))
        if device is not None:
            from runtime_py.devices.check import examine_on

            report, seen = examine_on(bundle, device, probes, instructions)
            pictures = None
            if exhibits and seen is not None and report.figures is not None:
                pictures = exhibits_of(seen.embeddings, seen.probes)
            return Outcome(bundle, report, about=about, exhibits=pictures)
        encoder = load(bundle)
        made: list[Floats] = []

        def embed(images: Pixels) -> Floats:
            vectors = encoder.embed_probes(images)
            if np.shares_memory(
                images, encoder.probes.images
            ):  # a check against a server makes views of them
                made.append(vectors)
            return vectors

        report = encoder.check(server, embed=embed)
        shown = exhibits_of(made[0], encoder.probes) if exhibits and report.figures is not None else None
        return Outcome(bundle, report, about=about, exhibits=shown)
    except PrunnetError as error:
        return Outcome(bundle, error=error, about=about)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 0 if all are compatible, 5 if one is incompatible, not verified or moved, else 2."""
    verdicts = {outcome.verdict for outcome in outcomes}
    if verdicts == {"compatible"}:
        return 0
    if verdicts & {"incompatible", "not verified", "moved"}:
        return IncompatibleError.exit_code
    return BundleError.exit_code
