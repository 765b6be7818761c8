"""Opens the saved artifact on its runtime and compares it with torch, before a bundle exists."""

from __future__ import annotations

from exporters.errors import ExportError
from exporters.targets.base import stage
from exporters.targets.spec import Artifact, ExportSpec
from runtime_py.backends import open_backend
from runtime_py.bundle.manifest import DriftRecord, Target, Tolerances
from runtime_py.bundle.probes import Probes
from runtime_py.check.drift import examine


def verify(
    target: Target, artifact: Artifact, spec: ExportSpec, probes: Probes, tolerances: Tolerances
) -> DriftRecord:
    """Return the drift of the saved artifact on this host's runtime.

    Args:
        target: Whose runtime opens it.
        artifact: What the exporter wrote.
        spec: The identity that must be written inside it.
        probes: All are embedded, and the parity pictures.
        tolerances: What the profile and the precision allow.

    Raises:
        ExportError: The artifact does not open or run, or says that it is something else.
        MissingExtraError: The runtime is not installed.
    """
    with stage(target, "verify"):
        backend = open_backend(target, artifact.path, artifact.input, artifact.output)
        written = backend.identity()
        if written != spec.identity:
            raise ExportError(target, "verify", f"the artifact says it is {written}, not {spec.identity}")
        return examine(backend.run, probes, tolerances, backend.runtime)
