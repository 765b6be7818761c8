"""The answer of a drift check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from runtime_py.bundle.manifest import DriftRecord, Figures, Tolerances, Verdict
from runtime_py.check.gates import Gate, gates
from runtime_py.errors import IncompatibleError


@dataclass(frozen=True)
class DeviceRecord:
    """The attached or emulated device that a check ran on. No latency: an emulator's milliseconds mean nothing.

    Attributes:
        name: What it is, for people.
        cpu: What its processor calls itself.
        isa: Instruction sets that matter to kernels, as a profile names them.
        runtimes: Versions of Python and of the runtimes on it; `on` is the one that made the embeddings.
        memory_bytes: What loading the artifact and embedding one image took there; None if that was not measured.
        probes: How many probes were embedded.
        of_probes: How many the bundle has.
        host: The runtime of this machine that embedded the same probes; None if it has none.
        host_difference: Largest difference of a number of the two machines' embeddings.
        instructions: How many of its processor's instructions one embedding took, on one thread, without what the
            first one allocates; None if that was not asked for or could not be counted.
        not_counted: Why not, if it was asked for.
    """

    name: str
    cpu: str
    isa: tuple[str, ...]
    runtimes: dict[str, str]
    memory_bytes: int | None
    probes: int
    of_probes: int
    host: str | None = None
    host_difference: float | None = None
    instructions: int | None = None
    not_counted: str = ""

    def sentences(self) -> tuple[str, ...]:
        """Say it for people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.runtimes.items() if name != "on")
        said = [
            f"checked on {self.name}: {self.cpu} ({', '.join(self.isa)}), {self.runtimes['on']}; {versions}"
        ]
        if self.memory_bytes is not None:
            said.append(f"peak memory there: {self.memory_bytes / 2**20:.1f} MiB for loading and one image")
        if self.probes < self.of_probes:
            said.append(f"{self.probes} of {self.of_probes} probes were used")
        if self.host_difference is not None:
            said.append(f"largest difference to {self.host}: {self.host_difference:.2g}")
        if self.instructions is not None:
            said.append(f"instructions of one embedding there: {self.instructions:,}; this is no latency")
        if self.not_counted:
            said.append(f"instructions: not counted ({self.not_counted})")
        return tuple(said)


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
        device: The attached device that the check ran on; None for this machine.
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
    device: DeviceRecord | None = None

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
            "device": asdict(self.device) if self.device else None,
        }


def _left_out(record: DriftRecord) -> tuple[str, ...]:
    """Say what a bundle of schema version 1 cannot be checked for."""
    if record.figures is None or record.figures.synthetic_min_cosine is not None:
        return ()
    return (
        "not checked: parity pictures, closeness and the figures of the export, which this bundle's schema version "
        "has not; swapped channels or a wrong mean may pass. Export it again",
    )
