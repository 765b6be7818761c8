"""Probes: real held-out images with the embeddings that the dense encoder and the subnetwork gave them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime_py.errors import BundleError
from runtime_py.npz import read_npz

UNIT_LENGTH_TOLERANCE = 1e-3
"""How far the length of a normalised embedding may be from 1 (fp16 artifacts round that much)."""

_DTYPES = {"images": np.uint8, "labels": np.int64, "dense": np.float32, "subnetwork": np.float32}


@dataclass(frozen=True, eq=False)
class Probes:
    """Images and their reference embeddings; validated when made.

    Args:
        images: uint8 [P, H, W, 3], RGB, P >= 2.
        labels: int64 [P]; images of the same thing share a label, and at least two do.
        dense: float32 [P, D], unit length: what the server's encoder makes of the images; also the gallery.
        subnetwork: float32 [P, D], unit length: what the subnetwork made of them in torch, before export.

    Raises:
        ValueError: An array is not of that shape or type, not finite, or not of unit length.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    dense: npt.NDArray[np.float32]
    subnetwork: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            if array.dtype != dtype:
                raise ValueError(f"{name} is {array.dtype}, not {np.dtype(dtype)}")
        if self.images.ndim != 4 or self.images.shape[3] != 3 or 0 in self.images.shape:
            raise ValueError(f"images has shape {list(self.images.shape)}, not [P, H, W, 3]")
        count = len(self.images)
        if self.labels.shape != (count,):
            raise ValueError(f"labels has shape {list(self.labels.shape)}, not [{count}]")
        if len(np.unique(self.labels)) == count:
            raise ValueError("no label occurs twice, so no probe can retrieve another one")
        for name in ("dense", "subnetwork"):
            _expect_embeddings(name, getattr(self, name), count)
        if self.dense.shape != self.subnetwork.shape:
            raise ValueError(
                f"dense has {self.dense.shape[1]} dimensions, subnetwork has {self.subnetwork.shape[1]}"
            )
        for name in _DTYPES:
            view = getattr(self, name).view()  # the caller's own array stays writable
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return int(self.dense.shape[1])

    def save(self, path: Path) -> None:
        """Write `path` as a compressed npz without pickles; same probes, same bytes."""
        with path.open("wb") as file:
            np.savez_compressed(file, **{name: getattr(self, name) for name in _DTYPES})

    @classmethod
    def load(cls, path: Path) -> Probes:
        """Read what `save` wrote.

        Raises:
            BundleError: The file is absent, no such npz, or holds no valid probes.
        """
        try:
            arrays = read_npz(path)
            if set(arrays) != set(_DTYPES):
                raise ValueError(f"it holds {sorted(arrays)}, not {sorted(_DTYPES)}")
            return cls(**arrays)
        except ValueError as error:
            raise BundleError(path, f"holds no probes ({error})") from error


def unit_lengths(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Tell for each row of [N, D] whether it is finite and of unit length; False for NaN."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    return np.asarray(np.abs(lengths - 1) <= UNIT_LENGTH_TOLERANCE)


def _expect_embeddings(name: str, array: npt.NDArray[np.float32], count: int) -> None:
    if array.ndim != 2 or len(array) != count or array.shape[1] == 0:
        raise ValueError(f"{name} has shape {list(array.shape)}, not [{count}, D]")
    sound = unit_lengths(array)
    if not sound.all():
        raise ValueError(f"{name} row {int(np.argmin(sound))} is not finite or not of unit length")
