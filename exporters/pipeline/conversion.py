"""Converts a module to a target and verifies the artifact, whatever the precision asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporters.pipeline.mixed import fewest_in_float
from exporters.pipeline.verification import Verified, verify
from exporters.progress import Say, silent
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from runtime_py.bundle.manifest import Target, Tolerances
from runtime_py.bundle.probes import Probes

if TYPE_CHECKING:
    import torch


def convert_and_verify(
    target: Target,
    module: torch.nn.Module,
    spec: ExportSpec,
    probes: Probes,
    tolerances: Tolerances,
    folder: Path,
    say: Say = silent,
) -> tuple[Artifact, Verified]:
    """Return the artifact and what verification found of it; only `mixed` judges on the way.

    Args:
        target: Format.
        module: What to convert.
        spec: Identity, input size, precision and calibration images.
        probes: What the artifact is verified on.
        tolerances: What the profile and the precision allow.
        folder: Takes the artifact, and others on the way to it.
        say: Takes a line at each stage.

    Raises:
        ExportError: The precision is not offered, or the conversion or its artifact fails.
        UnsupportedHostError: The target's converter is not built for this computer.
        MissingExtraError: The target's toolchain or runtime is not installed.
    """
    exporter = get_exporter(target)
    exporter.check_precision(spec.precision)
    if spec.precision == "mixed":
        return fewest_in_float(exporter, module, spec, probes, tolerances, folder, say)
    say(f"convert ({spec.precision})")
    artifact = exporter.convert(module, spec, folder)
    say(f"verify with {len(probes.images)} probes")
    return artifact, verify(target, artifact, spec, probes, tolerances)
