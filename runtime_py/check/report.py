"""The answer of a drift check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from runtime_py.bundle.manifest import DriftRecord, Figures, Tolerances, Verdict
from runtime_py.check.gates import Gate, gates
from runtime_py.errors import IncompatibleError


@dataclass(frozen=True)
class DriftReport:
    """Whether a bundle's embeddings may meet the server's gallery, and why.

    Attributes:
        verdict: `compatible`, `incompatible`, or `not verified` where the check could not run.
        reasons: One sentence for each thing that speaks against `compatible`.
        figures: What was measured; None if nothing could be.
        tolerances: What the figures were held against.
        runtime: The runtime that made the embeddings.
        gates: Every figure with its tolerance, passed or not.
        server: What the bundle was checked against; None for the embeddings stored with it.
        server_figures: Figures of the server itself, or of the retrieval from its gallery.
        notes: What this check could not look at, e.g. the parity pictures that an older bundle has not.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    figures: Figures | None
    tolerances: Tolerances
    runtime: str
    gates: tuple[Gate, ...] = ()
    server: str | None = None
    server_figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: DriftRecord, recorded: Figures | None = None) -> DriftReport:
        """Make the report of a check against the embeddings stored in the bundle.

        Args:
            record: What was measured now.
            recorded: What it was held against of the export, as given to `runtime_py.check.drift.measure`.
        """
        judged = gates(record.figures, record.tolerances, recorded) if record.figures else ()
        return cls(
            record.verdict,
            record.reasons,
            record.figures,
            record.tolerances,
            record.runtime,
            gates=judged,
            notes=_left_out(record),
        )

    def raise_if_incompatible(self) -> None:
        """Return only if the verdict is `compatible`.

        Raises:
            IncompatibleError: Names the first failed figure, its value, its tolerance and the worst probe.
                Also raised for `not verified`: a check that could not run is not a pass.
        """
        if self.verdict == "compatible":
            return
        failed = next((gate for gate in self.gates if not gate.passed), None)
        raise IncompatibleError(
            f"{self.verdict}: {'; '.join(self.reasons)} [{self.runtime}]",
            figure=failed.name if failed else None,
            value=failed.value if failed else None,
            tolerance=failed.tolerance if failed else None,
            worst_probe=self.figures.worst_probe if self.figures else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "figures": self.figures.model_dump(mode="json") if self.figures else None,
            "tolerances": self.tolerances.model_dump(mode="json"),
            "runtime": self.runtime,
            "gates": [asdict(gate) for gate in self.gates],
            "server": self.server,
            "server_figures": self.server_figures,
            "notes": list(self.notes),
        }


def _left_out(record: DriftRecord) -> tuple[str, ...]:
    """Say what a bundle of schema version 1 cannot be checked for."""
    if record.figures is None or record.figures.synthetic_min_cosine is not None:
        return ()
    return (
        "not checked: parity pictures, closeness and the figures of the export, which this bundle's schema version "
        "has not; swapped channels or a wrong mean may pass. Export it again",
    )
