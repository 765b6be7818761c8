"""The images that travel with an encoder: probes to check with, calibration images for BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prunnet.errors import EncoderError
from runtime_py.bundle.manifest import Preprocessing
from runtime_py.bundle.npz import read_npz
from runtime_py.bundle.originals import packed, unpacked


@dataclass(frozen=True)
class PackageImages:
    """Images of an encoder package.

    Attributes:
        images: uint8 [P, H, W, 3], RGB, held out from training.
        labels: int64 [P], their classes.
        calibration: uint8 [C, H, W, 3], RGB, training images without augmentation, in the order of their use.
        references: float32 [R, D], the dense encoder's embeddings of the first R calibration images
            (`prunnet.package.reference`); None in packages of schema version 1.
        originals: Picture files of some of the test pictures in a larger size, PNG or JPEG; none before schema
            version 3, or where nothing larger is known.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.uint8]
    references: npt.NDArray[np.float32] | None = None
    originals: tuple[bytes, ...] = ()

    def save(self, file: Path) -> None:
        """Write `probes.npz`."""
        extra: dict[str, Any] = {} if self.references is None else {"references": self.references}
        if self.originals:
            extra |= packed(self.originals)
        np.savez_compressed(
            file, images=self.images, labels=self.labels, calibration=self.calibration, **extra
        )

    @classmethod
    def load(cls, file: Path, preprocessing: Preprocessing) -> PackageImages:
        """Read `probes.npz`.

        Raises:
            EncoderError: The file is missing, damaged, or does not fit the encoder's input.
        """
        if not file.exists():
            raise EncoderError(f"{file} is missing; the encoder package is not whole")
        try:
            stored = read_npz(file)
            found = {name: stored[name] for name in ("images", "labels", "calibration")}
            originals = unpacked(stored) if "originals" in stored else ()
        except (ValueError, KeyError) as error:
            raise EncoderError(f"{file}: not a readable probes file: {error}") from error
        size = (preprocessing.height, preprocessing.width, 3)
        for name in ("images", "calibration"):
            array = found[name]
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != size or len(array) < 2:
                raise EncoderError(
                    f"{file}: {name} is {array.dtype} {list(array.shape)}; it must be uint8 "
                    f"[at least 2, {size[0]}, {size[1]}, 3]"
                )
        labels = found["labels"]
        if labels.dtype != np.int64 or labels.shape != found["images"].shape[:1]:
            raise EncoderError(
                f"{file}: labels is {labels.dtype} {list(labels.shape)}, one int64 per image is needed"
            )
        if len(np.unique(labels)) == len(labels):
            raise EncoderError(f"{file}: no two images share a label, so no probe has anything to find")
        references = stored.get("references")
        if references is not None and not _fit(references, found["calibration"]):
            raise EncoderError(
                f"{file}: references is {references.dtype} {list(references.shape)}; it must be float32, an embedding "
                "of each of the first calibration images"
            )
        return cls(found["images"], labels, found["calibration"], references, originals)


def _fit(references: npt.NDArray[Any], calibration: npt.NDArray[np.uint8]) -> bool:
    return references.dtype == np.float32 and references.ndim == 2 and 0 < len(references) <= len(calibration)
