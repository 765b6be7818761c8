"""Checks many bundles, one outcome each: no bad bundle hides the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runtime_py.bundle.manifest import Verdict
from runtime_py.check.report import DriftReport
from runtime_py.errors import (
    BundleError,
    CrashError,
    IncompatibleError,
    MissingExtraError,
    PrunnetError,
    UnsupportedProgramError,
)
from runtime_py.loading import load


@dataclass(frozen=True)
class Outcome:
    """What the check of one bundle came to: a report, or the error that prevented it."""

    bundle: Path
    report: DriftReport | None = None
    error: PrunnetError | None = None

    @property
    def verdict(self) -> Verdict | Literal["error"]:
        """The report's; `not verified` if nothing here runs or survives it; `error` for a bad bundle."""
        if self.report is not None:
            return self.report.verdict
        if isinstance(self.error, IncompatibleError):
            return "incompatible"
        cannot_run = (MissingExtraError, UnsupportedProgramError, CrashError)
        return "not verified" if isinstance(self.error, cannot_run) else "error"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not `compatible`."""
        return self.report.reasons if self.report is not None else (str(self.error),)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain JSON types."""
        return {
            "bundle": str(self.bundle),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "report": self.report.to_json() if self.report else None,
        }


def check_bundle(bundle: Path, server: str | Path | None = None) -> Outcome:
    """Load and check one bundle; see `QueryEncoder.check`. A PrunnetError becomes part of the outcome."""
    try:
        return Outcome(bundle, report=load(bundle).check(server))
    except PrunnetError as error:
        return Outcome(bundle, error=error)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 0 if all are compatible, 5 if one is incompatible or not verified, else 2."""
    verdicts = {outcome.verdict for outcome in outcomes}
    if verdicts == {"compatible"}:
        return 0
    if verdicts & {"incompatible", "not verified"}:
        return IncompatibleError.exit_code
    return BundleError.exit_code
