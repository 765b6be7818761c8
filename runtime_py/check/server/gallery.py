"""A stored gallery: the embeddings that the server has indexed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime_py.bundle.npz import read_npz
from runtime_py.bundle.probes import unit_lengths
from runtime_py.errors import BundleError

_REMEDY = "store embeddings float32 [G, D], labels int64 [G] and space_id in it"


@dataclass(frozen=True, eq=False)
class StoredGallery:
    """Embeddings with labels, and the space that they live in.

    Args:
        embeddings: float32 [G, D], unit length.
        labels: int64 [G]; may meet the probes' labels, or not.
        space_id: None if the file does not say.
    """

    embeddings: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    space_id: str | None

    @classmethod
    def load(cls, path: Path) -> StoredGallery:
        """Read an npz with the arrays `embeddings`, `labels` and `space_id` (a string).

        Raises:
            BundleError: No such file, an array is absent or of another shape or type, or a row is not of unit
                length.
        """
        try:
            arrays = read_npz(path)
        except ValueError as error:
            raise BundleError(path, f"holds no gallery ({error})", _REMEDY) from error
        for name in ("embeddings", "labels"):
            if name not in arrays:
                raise BundleError(path, f"holds no array {name!r}", _REMEDY)
        embeddings, labels = arrays["embeddings"], arrays["labels"]
        if embeddings.dtype != np.float32 or embeddings.ndim != 2 or not embeddings.size:
            raise BundleError(path, f"embeddings are {embeddings.dtype} {list(embeddings.shape)}", _REMEDY)
        if labels.dtype != np.int64 or labels.shape != embeddings.shape[:1]:
            raise BundleError(path, f"labels are {labels.dtype} {list(labels.shape)}", _REMEDY)
        sound = unit_lengths(embeddings)
        if not sound.all():
            row = int(np.argmin(sound))
            raise BundleError(path, f"embedding {row} is not finite or not of unit length", "normalise it")
        return cls(embeddings, labels, str(arrays["space_id"]) if "space_id" in arrays else None)
