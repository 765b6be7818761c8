"""From an encoder and a profile to a bundle: plan, extract, convert, verify, measure, step down, write."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporters.pipeline.expectation import Curve, held_against_curve, read_curve
from exporters.pipeline.measurement import against_budgets, measured_cost
from exporters.pipeline.planning import broken, plan_export, step_down
from exporters.pipeline.verification import verify
from exporters.progress import Say, silent
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from prunnet.profile import DeviceProfile
from prunnet.solver import Plan
from runtime_py.bundle.manifest import BudgetCheck, Cost, DriftRecord, Manifest, Target
from runtime_py.bundle.probes import Parity, Probes, unit_lengths
from runtime_py.bundle.write import write_bundle
from runtime_py.check.parity_pictures import parity_pictures
from runtime_py.errors import IncompatibleError
from runtime_py.loading import read_manifest
from runtime_py.retrieval.metrics import row_cosines

if TYPE_CHECKING:
    from prunnet.package.load import EncoderPackage


SAMPLED_PROBES = 8
"""Given dense embeddings are compared with this many computed anew, spread over the probes."""
SAMPLE_DISTANCE = 1e-5
"""Largest 1 - cosine between the two: other batches and processors differ by some 1e-9."""


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Args:
        path: The bundle's folder, OUT/<profile>/<target>.
        manifest: Its manifest.
        plan: The plan that it came from, after any step down.
        notes: What the user should know: of the converter, e.g. ops that run outside the delegate; and how the drop in
            mAP compares with the package's accuracy curve.
        steps: One line for every capacity that was exported and broke a budget.
    """

    path: Path
    manifest: Manifest
    plan: Plan
    notes: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class _Attempt:
    artifact: Artifact
    drift: DriftRecord
    probes: Probes
    measured: Cost
    checks: tuple[BudgetCheck, ...]
    against_curve: str


def export_bundle(
    package: EncoderPackage,
    profile: DeviceProfile,
    target: Target,
    out: str | Path,
    *,
    plan: Plan | None = None,
    dense: NDArray[np.float32] | None = None,
    say: Say = silent,
) -> Exported:
    """Export the largest subnetwork that a device affords, and write its bundle once it is proven.

    Args:
        package: The encoder.
        profile: The device.
        target: One of the profile's targets.
        out: The bundle goes to `out/<profile name>/<target>`; a bundle that is there is replaced in one step.
        plan: What `plan_export` returned, if it was called before.
        dense: The dense encoder's embeddings of the probes, float32 [P, D], if they are known.
        say: Takes a line at each stage.

    Raises:
        UnknownNameError: No such target, or none of the profile's.
        MissingExtraError: The target's toolchain or runtime is not installed.
        EncoderError: The package's accuracy curve is malformed.
        ExportError: The precision is not offered, or the conversion or its artifact fails.
        InfeasibleError: No capacity fits the budgets, as predicted or as measured.
        IncompatibleError: The artifact's embeddings must not meet the server's gallery, or `dense` is not this
            encoder's. No bundle is written.
    """
    from prunnet.package.server import embed

    label = f"{profile.name}/{target}"
    curve = read_curve(package.metadata.metrics, package.path / "encoder.json")
    if plan is None:
        say(f"{label}: plan")
        plan = plan_export(package, profile, target)
    if dense is None:
        say(f"{label}: embed {len(package.probes.images)} probes with the dense encoder")
        dense = embed(package.subnetwork(1.0), package.probes.images)
    else:
        _expect_dense(package, dense)
    steps: list[str] = []
    with tempfile.TemporaryDirectory(prefix="prunnet-export-", ignore_cleanup_errors=True) as scratch:
        while True:
            folder = Path(scratch) / str(len(steps))
            folder.mkdir()
            attempt = _attempt(package, profile, plan, dense, curve, folder, say)
            excess = broken(attempt.checks)
            if not excess:
                break
            steps.append(f"capacity {plan.capacity:.4f} was exported and broke a budget: {excess}")
            say(f"{label}: {steps[-1]}; stepping down")
            plan = step_down(package, profile, plan, attempt.checks)
        if attempt.drift.verdict != "compatible":
            reasons = "; ".join(attempt.drift.reasons)
            raise IncompatibleError(
                f"{label} at capacity {plan.capacity:.4f}, {attempt.drift.verdict} on {attempt.drift.runtime}: "
                f"{reasons}. No bundle was written"
            )
        say(f"{label}: write")
        draft = _draft(package, plan, attempt)
        path = write_bundle(draft, attempt.artifact.path, attempt.probes, Path(out) / profile.name / target)
    notes = (*attempt.artifact.notes, attempt.against_curve)
    return Exported(path, read_manifest(path), plan, notes, tuple(steps))


def _expect_dense(package: EncoderPackage, dense: NDArray[np.float32]) -> None:
    """Embed `SAMPLED_PROBES` again and compare: given embeddings may be another encoder's, or in another order.

    All are checked for their shape and unit length. A fault in rows that are not sampled stays unseen here; the
    gates on closeness see it if it is large.

    Raises:
        IncompatibleError: They are not the dense encoder's, as far as was sampled; names the sampled probe that differs
            most.
    """
    from prunnet.package.server import embed

    images = package.probes.images
    remedy = "embed the package's probes, in their order, with its capacity 1.0, or give none"
    wanted = (len(images), package.metadata.dimension)
    if dense.shape != wanted:
        raise IncompatibleError(
            f"the dense embeddings have shape {list(dense.shape)}, not {list(wanted)}: {remedy}"
        )
    if not unit_lengths(dense).all():
        raise IncompatibleError(f"the dense embeddings are not all finite and of unit length: {remedy}")
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLED_PROBES).round().astype(int))
    distances = 1 - row_cosines(embed(package.subnetwork(1.0), images[rows]), dense[rows])
    if not distances.max() <= SAMPLE_DISTANCE:
        probe = int(rows[distances.argmax()])
        raise IncompatibleError(
            f"the dense embeddings are not those of {package.name}: probe {probe} differs by {distances.max():.2g} "
            f"(1 - cosine); {remedy}"
        )


def _attempt(
    package: EncoderPackage,
    profile: DeviceProfile,
    plan: Plan,
    dense: NDArray[np.float32],
    curve: Curve | None,
    folder: Path,
    say: Say,
) -> _Attempt:
    """Export one capacity and find out everything about the artifact; judge nothing."""
    from prunnet.package.server import embed

    label = f"{plan.profile}/{plan.target}"
    say(f"{label}: extract capacity {plan.capacity:.4f}")
    module = package.subnetwork(plan.capacity_asked, plan.channel_multiple)
    images = package.probes.images
    pictures = parity_pictures(package.preprocessing.height, package.preprocessing.width)
    parity = Parity(pictures, embed(package.subnetwork(1.0), pictures), embed(module, pictures))
    probes = Probes(images, package.probes.labels, dense, embed(module, images), parity)
    spec = _spec(package, plan)
    say(f"{label}: convert ({plan.precision})")
    artifact = get_exporter(plan.target).convert(module, spec, folder)
    say(f"{label}: verify with {len(images)} probes")
    drift = verify(plan.target, artifact, spec, probes, profile.compatibility.of(plan.precision))
    drift, against_curve = held_against_curve(drift, curve, plan.capacity)
    say(f"{label}: measure")
    measured = measured_cost(module, artifact, plan.target, package.prunable.input_shape)
    checks = against_budgets(plan, measured)
    return _Attempt(artifact, drift, probes, measured, checks, against_curve)


def _spec(package: EncoderPackage, plan: Plan) -> ExportSpec:
    return ExportSpec(
        name=package.name,
        space_id=package.space_id,
        capacity=plan.capacity,
        dimension=package.metadata.dimension,
        version=metadata.version("prunnet"),
        preprocessing=package.preprocessing,
        precision=plan.precision,
        calibration_images=package.probes.calibration,
    )


def _draft(package: EncoderPackage, plan: Plan, attempt: _Attempt) -> Manifest:
    """Return the manifest without hashes and seal, which `write_bundle` adds."""
    return Manifest(
        prunnet_version=metadata.version("prunnet"),
        encoder=package.name,
        space_id=package.space_id,
        capacity=plan.capacity,
        capacity_asked=plan.capacity_asked,
        granularity=plan.granularity,
        target=plan.target,
        precision=plan.precision,
        profile=plan.profile,
        artifact=attempt.artifact.path.name,
        input=attempt.artifact.input,
        output=attempt.artifact.output,
        preprocessing=package.preprocessing,
        predicted=plan.predicted,
        measured=attempt.measured,
        budgets=attempt.checks,
        drift=attempt.drift,
        tools=attempt.artifact.tools,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )
