"""The precision `mixed`: finds the fewest layers that must stay in float for an int8 artifact to pass its gates.

The layers are ranked once, in torch (`exporters.targets.sensitivity`). Then artifacts are made with the first 1, 2, 4,
... of the ranking in float until one passes, and the fewest is found by bisection below that: the artifact that is
returned passes, and the one with the last of its float layers in int8 does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.pipeline.verification import Verified, verify
from exporters.progress import Say
from exporters.targets.base import Exporter
from exporters.targets.calibration import calibration_images
from exporters.targets.spec import Artifact, ExportSpec, Twin
from runtime_py.bundle.manifest import Tolerances
from runtime_py.bundle.probes import Probes

if TYPE_CHECKING:
    import torch


def fewest_in_float(
    exporter: Exporter,
    module: torch.nn.Module,
    spec: ExportSpec,
    probes: Probes,
    tolerances: Tolerances,
    folder: Path,
    say: Say,
) -> tuple[Artifact, Verified]:
    """Return the artifact that passes with the fewest layers in float, and what verification found of it.

    If none passes, it is the one with all layers but the least sensitive in float, and its verdict is `incompatible`.

    Args:
        exporter: Of the target.
        module: float32 [N, 3, H, W] in 0..255 -> unit-length float32 [N, D].
        spec: Of precision `mixed`, without float layers.
        probes: All are embedded by each artifact that is tried.
        tolerances: What the artifact must pass.
        folder: Takes a folder for each artifact that is tried.
        say: Takes a line for each.

    Raises:
        ExportError: A conversion fails, or a layer is not found in the artifact.
    """
    from exporters.targets.sensitivity import sensitivities

    precision = exporter.float_precision
    twin = Twin(
        exporter.convert(module, replace(spec, precision=precision), _within(folder, "float")), precision
    )
    say("rank the layers by what int8 costs each")
    unlike = probes.images[:0] if probes.parity is None else spec.as_taken(probes.parity.images)
    images = calibration_images(spec, exporter.target)
    ranking = [each.layer for each in sensitivities(module, images, unlike)]
    most = max(0, len(ranking) - 1)
    tried: dict[int, Artifact] = {}

    def passes(number: int) -> bool:
        wanted = replace(spec, float_layers=tuple(ranking[:number]))
        artifact = tried[number] = exporter.convert(module, wanted, _within(folder, str(number)), twin)
        drift = verify(exporter.target, replace(artifact, twin=None), spec, probes, tolerances).drift
        failed = ", ".join(reason.split(" ", 1)[0] for reason in drift.reasons)
        say(f"{number} of {len(ranking)} layers in float: {drift.verdict} {failed}".rstrip())
        return drift.verdict != "incompatible"

    number = fewest(passes, most)
    artifact = tried[most if number is None else number]
    names = ", ".join(artifact.float_layers)
    note = (
        f"{len(artifact.float_layers)} of {len(ranking)} layers stay in float: {names}"
        if names
        else _ALL_INT8
    )
    artifact = replace(artifact, notes=(*artifact.notes, note))
    return artifact, verify(exporter.target, artifact, spec, probes, tolerances)


_ALL_INT8 = "mixed: no layer has to stay in float; the precision int8 makes the same artifact in less time"


def fewest(passes: Callable[[int], bool], most: int) -> int | None:
    """Return a number that passes and whose predecessor does not; None if `most` does not pass.

    It is the smallest that passes if whatever is larger than it passes as well.

    Args:
        passes: Judges a number of 0 to `most`; asked once for each.
        most: Largest number.
    """
    if passes(0):
        return 0
    if most == 0 or not passes(most):
        return None
    failed, tried = 0, 1
    while tried < most and not passes(tried):
        failed, tried = tried, min(most, 2 * tried)
    while tried - failed > 1:
        middle = (failed + tried) // 2
        if passes(middle):
            tried = middle
        else:
            failed = middle
    return tried


def _within(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made
