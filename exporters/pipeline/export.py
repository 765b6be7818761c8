"""From an encoder and a profile to a bundle: plan, extract, convert, verify, measure, step down, write."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.errors import ExportError
from exporters.pipeline.conversion import convert_and_verify
from exporters.pipeline.expectation import held_against_curve
from exporters.pipeline.measurement import against_budgets, measured_cost
from exporters.pipeline.originals import originals_of
from exporters.pipeline.planning import broken, plan_again, plan_export, step_down
from exporters.progress import Say, silent
from exporters.targets.spec import Artifact, ExportSpec
from prunnet.profile import OFFERED, DeviceProfile
from prunnet.solver import Plan
from prunnet.solver.choose import Refusal
from prunnet.solver.costs import raw_input_of
from runtime_py.bundle.manifest import BudgetCheck, Cost, DriftRecord, Manifest, Precision, Target
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import is_quantised
from runtime_py.bundle.write import expect_place, write_bundle
from runtime_py.check.frames import behind_frames, seen_through_frames
from runtime_py.check.parity_pictures import parity_pictures
from runtime_py.errors import IncompatibleError
from runtime_py.loading import read_manifest

if TYPE_CHECKING:
    from torch import nn

    from prunnet.encoder.encoder import Encoder
    from prunnet.package.package import EncoderPackage


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Args:
        path: The bundle's folder, OUT/<profile>/<target>.
        manifest: Its manifest.
        plan: The plan that it came from, after any step down.
        notes: What the user should know: of the converter, e.g. ops that run outside the delegate; and how the drop in
            mAP compares with the package's accuracy curve.
        steps: One line for every artifact that broke a budget; and for every one that failed or lost too much where
            another precision is allowed.
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
    resizes: bool


def export_bundle(
    package: EncoderPackage,
    profile: DeviceProfile,
    target: Target,
    out: str | Path,
    *,
    plan: Plan | None = None,
    say: Say = silent,
) -> Exported:
    """Export the largest subnetwork that a device affords, and write its bundle once it is proven.

    Args:
        package: The encoder.
        profile: The device.
        target: One of the profile's targets.
        out: The bundle goes to `out/<profile name>/<target>`; a bundle that is there is replaced in one step.
        plan: What `plan_export` returned, if it was called before.
        say: Takes a line at each stage.

    Raises:
        UnknownNameError: No such target.
        ProfileError: The profile does not list the target, or has a latency budget without coefficients.
        BundleError: The bundle cannot be written there; known before the work, save for a disk that is full.
        UnsupportedHostError: The target's converter is not built for this computer.
        MissingExtraError: The target's toolchain or runtime is not installed.
        EncoderError: The package's accuracy curve is malformed.
        ExportError: The precision is not offered, or the conversion or its artifact fails.
        InfeasibleError: No capacity fits the budgets, as predicted or as measured.
        IncompatibleError: The artifact's embeddings must not meet the server's gallery, or dense embeddings that the
            package took over are not this encoder's. No bundle is written.
    """
    label, place = f"{profile.name}/{target}", Path(out) / profile.name / target
    expect_place(place)
    _ = package.curve  # a malformed one is known before the work
    if plan is None:
        say(f"{label}: plan")
        plan = plan_export(package, profile, target)
    if not package.knows_dense:
        say(f"{label}: embed {len(package.probes.images)} probes with the dense encoder")
    steps: list[str] = []
    known: dict[Precision, Plan | Refusal] = {}
    with tempfile.TemporaryDirectory(prefix="prunnet-export-", ignore_cleanup_errors=True) as scratch:
        while True:
            folder = Path(scratch) / str(len(steps))
            folder.mkdir()
            # Another precision may do where this one is too coarse. What is wrong in fp32 is wrong in all of them.
            others = plan.precision != "fp32" and len(profile.precisions_of(target)) > 1
            try:
                attempt = _attempt(package, profile, plan, folder, say)
            except ExportError as error:
                if not others:
                    raise
                steps.append(
                    f"capacity {plan.capacity:.4f} in {plan.precision} could not be exported: {error}"
                )
                known[plan.precision] = IncompatibleError(steps[-1])
            else:
                if excess := broken(attempt.checks):
                    steps.append(_exported(plan, f"broke a budget: {excess}"))
                    known[plan.precision] = step_down(package, profile, plan, attempt.checks)
                elif attempt.drift.verdict == "compatible":
                    break
                else:
                    refusal = _refusal(profile, plan, attempt.drift, len(attempt.artifact.float_layers))
                    if not others or _is_conversion(attempt.drift):
                        raise refusal
                    steps.append(_exported(plan, f"loses too much: {'; '.join(attempt.drift.reasons)}"))
                    known[plan.precision] = refusal
            moves = (
                "stepping down"
                if isinstance(known[plan.precision], Plan)
                else "looking for another precision"
            )
            say(f"{label}: {steps[-1]}; {moves}")
            plan = plan_again(package, profile, plan, known)
        say(f"{label}: write")
        draft = _draft(package, plan, attempt)
        path = write_bundle(draft, attempt.artifact.path, attempt.probes, place)
    notes = (*attempt.artifact.notes, attempt.against_curve)
    return Exported(path, read_manifest(path), plan, notes, tuple(steps))


def _attempt(
    package: EncoderPackage,
    profile: DeviceProfile,
    plan: Plan,
    folder: Path,
    say: Say,
) -> _Attempt:
    """Export one capacity and find out everything about the artifact; judge nothing."""
    label = f"{plan.profile}/{plan.target}"
    say(f"{label}: extract capacity {plan.capacity:.4f}")
    module = package.subnetwork(plan.capacity_asked, plan.channel_multiple)
    raw = raw_input_of(package.prunable, profile)
    frame = None if raw is None else raw.size
    whole = module if raw is None else raw.before(module).eval()
    probes = _probes(package, module) if frame is None else _probes_of_frames(package, module, whole, frame)
    spec = ExportSpec.of(package, plan.capacity, plan.precision, frame)
    artifact, verified = convert_and_verify(
        plan.target,
        whole,
        spec,
        probes,
        profile.compatibility.of(plan.precision),
        folder,
        lambda line: say(f"{label}: {line}"),
    )
    drift, against_curve = held_against_curve(verified.drift, package.curve, plan.capacity)
    say(f"{label}: measure")
    measured = measured_cost(whole, artifact, plan.target, (3, *spec.size))
    checks = against_budgets(plan, measured)
    return _Attempt(artifact, drift, verified.probes, measured, checks, against_curve, raw is not None)


def _probes(package: EncoderPackage, module: Encoder) -> Probes:
    """Return the pictures of a bundle with what the dense encoder and the subnetwork make of them."""
    from prunnet.encoder.embedding import embed

    images = package.probes.images
    pictures = parity_pictures(package.preprocessing.height, package.preprocessing.width)
    parity = Parity(pictures, embed(package.subnetwork(1.0), pictures), embed(module, pictures))
    return Probes(
        images,
        package.probes.labels,
        package.dense,
        embed(module, images),
        parity,
        originals=originals_of(package, module),
    )


def _probes_of_frames(
    package: EncoderPackage, module: Encoder, resizing: nn.Module, frame: tuple[int, int]
) -> Probes:
    """Return them for an artifact that takes frames, and was converted from `resizing`.

    That one does not round. The server's resize does, and the originals have its references: they prove the artifact's.
    """
    from prunnet.encoder.embedding import embed

    images, framing, encoder = package.probes.images, package.preprocessing, package.subnetwork(1.0)
    pictures = parity_pictures(framing.height, framing.width)
    dense, parity_dense = (
        embed(encoder, seen_through_frames(each, frame, framing)) for each in (images, pictures)
    )
    subnetwork = behind_frames(partial(embed, resizing), frame)
    return Probes(
        images,
        package.probes.labels,
        dense,
        subnetwork(images),
        Parity(pictures, parity_dense, subnetwork(pictures)),
        originals=originals_of(package, module, frame),
    )


def _exported(plan: Plan, problem: str) -> str:
    return f"capacity {plan.capacity:.4f} in {plan.precision} was exported and {problem}"


def _is_conversion(drift: DriftRecord) -> bool:
    """Whether the float twin differs, so that the conversion is at fault and not the precision."""
    return any(reason.endswith("twin") for reason in drift.reasons)


def _loses_too_much(drift: DriftRecord) -> bool:
    """Whether a quantised precision loses too much, and its conversion is not at fault."""
    lost = any(reason.startswith("compression.") for reason in drift.reasons)
    return lost and not _is_conversion(drift)


def _is_gentler(offered: Precision, than: Precision) -> bool:
    return offered == "mixed" and than == "int8"


def _refusal(profile: DeviceProfile, plan: Plan, drift: DriftRecord, in_float: int = 0) -> IncompatibleError:
    helps, share = "", f", with {in_float} layers in float" if in_float else ""
    if _loses_too_much(drift):
        gentler = [
            name
            for name in OFFERED[plan.target]
            if (not is_quantised(name) or _is_gentler(name, plan.precision))
            and (profile.budgets.max_latency_ms is None or profile.latency_of(plan.target, name))
        ]
        helps = (
            f". This encoder loses too much in {plan.precision}. What would help: {' or '.join(gentler)} for "
            f"precision.{plan.target} of the profile, or as --precision; or, if you measured on photos of your own "
            "that you can accept the loss, tolerances of your own under compatibility"
        )
    if any(reason.startswith("preprocess.") for reason in drift.reasons):
        helps += (
            ". The server's resize rounds and the artifact's does not, and this encoder tells them apart: export "
            "without raw_input"
        )
    return IncompatibleError(
        f"{plan.profile}/{plan.target} at capacity {plan.capacity:.4f}{share}, {drift.verdict} on {drift.runtime}: "
        f"{'; '.join(drift.reasons)}. No bundle was written{helps}"
    )


def _draft(package: EncoderPackage, plan: Plan, attempt: _Attempt) -> Manifest:
    """Return the manifest without hashes and seal, which `write_bundle` adds."""
    return Manifest(
        schema_version=5 if attempt.resizes else 4,
        prunnet_version=metadata.version("prunnet"),
        encoder=package.name,
        space_id=package.space_id,
        capacity=plan.capacity,
        capacity_asked=plan.capacity_asked,
        granularity=plan.granularity,
        target=plan.target,
        precision=plan.precision,
        float_layers=attempt.artifact.float_layers,
        profile=plan.profile,
        artifact=attempt.artifact.path.name,
        input=attempt.artifact.input,
        output=attempt.artifact.output,
        preprocessing=package.preprocessing,
        resize_inside=attempt.resizes,
        predicted=plan.predicted,
        measured=attempt.measured,
        budgets=attempt.checks,
        drift=attempt.drift,
        tools=attempt.artifact.tools,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )
