"""The gates `preprocess.*`: are pictures of original size decoded, turned and resized as the server's were?

Everything else in a check starts from pixels of the input's size. A plain bilinear resize in place of an antialiased
one moves embeddings further than int8 does, and no other gate sees it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.bundle.originals import Originals, suffix_of
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import Tolerances
from runtime_py.check.drift import Embed
from runtime_py.check.gates import Gate, describe, resize_gates
from runtime_py.check.report import DriftReport
from runtime_py.errors import MissingExtraError, PictureError
from runtime_py.framing import Framing
from runtime_py.picture_files import read_picture
from runtime_py.retrieval import metrics


def framed(files: tuple[bytes, ...], framing: Framing) -> Pixels:
    """Decode picture files, turn them upright and resize them, as a query's file: uint8 [K, height, width, 3].

    Raises:
        PictureError: A file is not a readable picture.
        MissingExtraError: Pillow is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="prunnet-originals-") as folder:
        pictures = []
        for file in files:
            path = Path(folder) / f"original{suffix_of(file)}"
            path.write_bytes(file)
            pictures.append(read_picture(path, framing))
    return np.stack(pictures)


def preprocess_gates(
    embeddings: Floats, originals: Originals, tolerances: Tolerances, family: str = "preprocess"
) -> tuple[Gate, ...]:
    """Hold embeddings of the originals against those they must have; what has no direction counts as -1.

    Args:
        embeddings: float32 [K, D], in the order of `originals.files`.
        originals: The originals.
        tolerances: What they may differ by; without a tolerance there is no gate.
        family: What the gates are called.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    stand_in = np.where(usable[:, None], embeddings, originals.embeddings)
    cosines = np.where(usable, metrics.row_cosines(stand_in, originals.embeddings), -1.0)
    where = f"worst original: {originals.names[int(cosines.argmin())]}"
    return resize_gates(float(cosines.min()), float(cosines.mean()), tolerances, where, family)


def with_preprocessing(report: DriftReport, embed: Embed, probes: Probes, framing: Framing) -> DriftReport:
    """Add the gates of this machine's own decoding and resizing to a report; a note where they cannot be judged.

    Args:
        report: Of the same artifact.
        embed: What the artifact does: uint8 [N, H, W, 3] to float32 [N, D].
        probes: The bundle's.
        framing: What the artifact takes, `Manifest.takes`.
    """
    if probes.originals is None:
        said = "not checked: decoding and resizing, as this bundle has no pictures of original size. Export it again"
        return replace(report, notes=(*report.notes, said))
    try:
        pixels = framed(probes.originals.files, framing)
    except (MissingExtraError, OSError) as error:  # no Pillow, or no place for temporary files
        return replace(report, notes=(*report.notes, f"not checked: decoding and resizing ({error})"))
    except PictureError as error:
        said = (
            f"preprocess: a picture of original size cannot be decoded here ({error.kind}: {error.problem})"
        )
        return replace(report, verdict="incompatible", reasons=(*report.reasons, said))
    return with_gates(report, preprocess_gates(embed(pixels), probes.originals, report.tolerances))


def with_gates(report: DriftReport, judged: tuple[Gate, ...]) -> DriftReport:
    """Add gates to a report; one that failed makes it incompatible."""
    reasons = describe(judged)
    verdict = "incompatible" if reasons else report.verdict
    return replace(
        report, verdict=verdict, reasons=(*report.reasons, *reasons), gates=(*report.gates, *judged)
    )
