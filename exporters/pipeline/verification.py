"""Opens the saved artifact on its runtime and compares it with torch, before a bundle exists.

A quantised artifact may be far from torch without a fault. So its float twin, converted by the same exporter, is held
to the strict tolerances of a conversion; the artifact itself to what compression may cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from exporters.errors import ExportError
from exporters.targets.base import stage
from exporters.targets.spec import Artifact, ExportSpec
from runtime_py.backends import Backend, open_backend
from runtime_py.bundle.manifest import DriftRecord, FloatTwin, Precision, Target, Tolerances
from runtime_py.bundle.originals import Originals
from runtime_py.bundle.probes import Probes, Recorded
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import Embed, measure
from runtime_py.check.figures import figures_of
from runtime_py.check.frames import behind_frames
from runtime_py.check.gates import describe, parity_gates
from runtime_py.check.originals import framed, preprocess_gates
from runtime_py.errors import BundleError, UnsupportedProgramError
from runtime_py.framing import Framing


@dataclass(frozen=True)
class Verified:
    """What verification found.

    Args:
        drift: The drift of the artifact on this host's runtime.
        probes: The probes; with what a quantised artifact gave, so that a later check can hold it against that.
    """

    drift: DriftRecord
    probes: Probes


def verify(
    target: Target, artifact: Artifact, spec: ExportSpec, probes: Probes, tolerances: Tolerances
) -> Verified:
    """Judge the saved artifact on this host's runtime, and its float twin if it is quantised.

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
        backend = _opened(target, artifact, spec)
        run = _of_probes(backend, spec)
        embeddings = run(probes.images)
        synthetic = None if probes.parity is None else run(probes.parity.images)
        drift = measure(embeddings, probes, tolerances, backend.runtime, synthetic=synthetic)
        if artifact.twin is None:
            return Verified(with_resize(drift, backend.run, spec, probes, tolerances), probes)
        figures, given = drift.figures, probes
        if synthetic is not None and figures is not None and figures.finite and figures.unit_length:
            probes = replace(
                probes,
                recorded=Recorded(embeddings, synthetic),
                originals=_own(probes.originals, backend.run, spec),
            )
        twin = _opened(target, artifact.twin.artifact, spec)
        drift = with_twin(drift, artifact.twin.precision, twin.runtime, _of_probes(twin, spec), probes)
        drift = with_resize(drift, twin.run, spec, given, TABLE[artifact.twin.precision])
        return Verified(drift, probes)


def with_resize(
    drift: DriftRecord, embed: Embed, spec: ExportSpec, probes: Probes, tolerances: Tolerances
) -> DriftRecord:
    """Hold an artifact's own resize against the server's; the record is incompatible if it fails.

    Args:
        drift: Of the artifact.
        embed: What it does, or its float twin: uint8 [N, *spec.size, 3] to float32 [N, D].
        spec: What was to be exported; without a frame there is nothing to judge.
        probes: The originals' references are of the server's resize.
        tolerances: Of the precision that `embed` computes in.
    """
    if spec.frame is None or probes.originals is None:
        return drift
    pixels = framed(probes.originals.files, Framing.of(spec.frame))
    failed = describe(preprocess_gates(embed(pixels), probes.originals, tolerances))
    if not failed:
        return drift
    return drift.model_copy(update={"verdict": "incompatible", "reasons": (*drift.reasons, *failed)})


def _of_probes(backend: Backend, spec: ExportSpec) -> Embed:
    return backend.run if spec.frame is None else behind_frames(backend.run, spec.frame)


def _own(originals: Originals | None, embed: Embed, spec: ExportSpec) -> Originals | None:
    """Return the originals with what a quantised artifact makes of them: no float reference is as close to it."""
    into = spec.preprocessing if spec.frame is None else Framing.of(spec.frame)
    return originals and replace(originals, embeddings=embed(framed(originals.files, into)))


def _opened(target: Target, artifact: Artifact, spec: ExportSpec) -> Backend:
    try:
        backend = open_backend(target, artifact.path, artifact.input, artifact.output)
    except UnsupportedProgramError:
        raise
    except BundleError as error:
        cause = f"its runtime does not open what the converter wrote: {error.problem}"
        raise ExportError(
            target, "verify", f"{cause}. Replace what it names, or take {target} out of the profile"
        ) from error
    written = backend.identity()
    if written != spec.identity:
        raise ExportError(target, "verify", f"the artifact says it is {written}, not {spec.identity}")
    return backend


def with_twin(
    drift: DriftRecord, precision: Precision, runtime: str, embed: Embed, probes: Probes
) -> DriftRecord:
    """Add the figures of the float twin; the record is incompatible if the twin fails a gate of its conversion.

    Args:
        drift: Of the quantised artifact.
        precision: Number format of the twin.
        runtime: What runs it.
        embed: What it does: uint8 [N, H, W, 3] to float32 [N, D].
        probes: All are embedded, and the parity pictures.
    """
    synthetic = None if probes.parity is None else embed(probes.parity.images)
    figures = figures_of(embed(probes.images), replace(probes, recorded=None), synthetic)
    failed = describe(parity_gates(figures, TABLE[precision]))
    changed: dict[str, object] = {"twin": FloatTwin(precision=precision, runtime=runtime, figures=figures)}
    if failed:
        kept = drift.reasons if drift.verdict == "incompatible" else ()
        reasons = tuple(f"{reason}, in its {precision} twin" for reason in failed)
        changed |= {"verdict": "incompatible", "reasons": (*reasons, *kept)}
    return drift.model_copy(update=changed)
