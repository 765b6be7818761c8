"""Probes: real held-out images with the embeddings that the dense encoder and the subnetwork gave them.

`probes.npz` of schema version 2 also holds the parity pictures (`runtime_py.check.parity_pictures`) with theirs; that
of version 1 is read without them. From version 3 on, a quantised artifact's also holds what it gave at the export;
from version 4 on, all hold pictures of original size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime_py.bundle.npz import read_npz
from runtime_py.bundle.originals import STORED, Originals
from runtime_py.errors import BundleError

UNIT_LENGTH_TOLERANCE = 1e-3
"""How far the length of a normalised embedding may be from 1 (fp16 artifacts round that much)."""

_DTYPES = {"images": np.uint8, "labels": np.int64, "dense": np.float32, "subnetwork": np.float32}
_PARITY = {"images": "parity_images", "dense": "parity_dense", "subnetwork": "parity_subnetwork"}
"""Field of `Parity` -> array of the npz."""
_RECORDED = {"probes": "recorded", "parity": "parity_recorded"}
"""Field of `Recorded` -> array of the npz."""


@dataclass(frozen=True, eq=False)
class Parity:
    """Parity pictures and their reference embeddings; `Probes` validates them.

    Args:
        images: uint8 [S, H, W, 3], RGB, S >= 1; stored, so that a later version may draw others.
        dense: float32 [S, D], unit length.
        subnetwork: float32 [S, D], unit length.
    """

    images: npt.NDArray[np.uint8]
    dense: npt.NDArray[np.float32]
    subnetwork: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a quantised artifact gave at the export; `Probes` validates it.

    Its kernels round: no float reference is as close to it as the same artifact on another machine.

    Args:
        probes: float32 [P, D], unit length.
        parity: float32 [S, D], unit length, of the parity pictures.
    """

    probes: npt.NDArray[np.float32]
    parity: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probes:
    """Images and their reference embeddings; validated when made.

    Args:
        images: uint8 [P, H, W, 3], RGB, P >= 2.
        labels: int64 [P]; images of the same thing share a label, and at least two do.
        dense: float32 [P, D], unit length: what the server's encoder makes of the images; also the gallery.
            Of an artifact that resizes by itself: of the images as frames, after the stated resize
            (`runtime_py.check.frames`).
        subnetwork: float32 [P, D], unit length: what the subnetwork made of them in torch, before export.
        parity: The parity pictures; None in a bundle of schema version 1.
        recorded: What the artifact gave at the export, if it is quantised; needs `parity`.
        originals: Pictures of original size; None before schema version 4.

    Raises:
        ValueError: An array is not of that shape or type, not finite, or not of unit length.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    dense: npt.NDArray[np.float32]
    subnetwork: npt.NDArray[np.float32]
    parity: Parity | None = None
    recorded: Recorded | None = None
    originals: Originals | None = None

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
        if self.parity is not None:
            _expect_parity(self.parity, self.images, self.dense)
            object.__setattr__(self, "parity", Parity(*(_frozen(getattr(self.parity, n)) for n in _PARITY)))
        if self.recorded is not None:
            _expect_recorded(self.recorded, self.parity, self.dense)
            object.__setattr__(
                self, "recorded", Recorded(*(_frozen(getattr(self.recorded, n)) for n in _RECORDED))
            )
        if self.originals is not None:
            _expect_originals(self.originals, self.dense)
        for name in _DTYPES:
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return int(self.dense.shape[1])

    def save(self, path: Path) -> None:
        """Write `path` as a compressed npz without pickles; same probes, same bytes."""
        arrays = {name: getattr(self, name) for name in _DTYPES}
        if self.parity is not None:
            arrays |= {stored: getattr(self.parity, name) for name, stored in _PARITY.items()}
        if self.recorded is not None:
            arrays |= {stored: getattr(self.recorded, name) for name, stored in _RECORDED.items()}
        if self.originals is not None:
            arrays |= self.originals.arrays()
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Probes:
        """Read what `save` wrote.

        Raises:
            BundleError: The file is absent, no such npz, or holds no valid probes.
        """
        try:
            arrays = read_npz(path)
            framed = {name: arrays.pop(name) for name in STORED if name in arrays}
            if framed and len(framed) < len(STORED):
                raise ValueError(f"it holds {sorted(framed)}, not all of {sorted(STORED)}")
            known = {*_DTYPES, *_PARITY.values()}
            if set(arrays) not in (set(_DTYPES), known, known | set(_RECORDED.values())):
                raise ValueError(f"it holds {sorted(arrays)}, not {sorted(known)}")
            own = {name: arrays.pop(stored) for name, stored in _PARITY.items() if stored in arrays}
            given = {name: arrays.pop(stored) for name, stored in _RECORDED.items() if stored in arrays}
            return cls(
                **arrays,
                parity=Parity(**own) if own else None,
                recorded=Recorded(**given) if given else None,
                originals=Originals.of(framed) if framed else None,
            )
        except ValueError as error:
            raise BundleError(path, f"holds no probes ({error})") from error


def unit_lengths(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Tell for each row of [N, D] whether it is finite and of unit length; False for NaN."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    return np.asarray(np.abs(lengths - 1) <= UNIT_LENGTH_TOLERANCE)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view; the caller's own array stays writable."""
    view = array.view()
    view.setflags(write=False)
    return view


def _expect_parity(parity: Parity, images: npt.NDArray[np.uint8], dense: npt.NDArray[np.float32]) -> None:
    for name, stored in _PARITY.items():
        array = getattr(parity, name)
        if array.dtype != _DTYPES[name]:
            raise ValueError(f"{stored} is {array.dtype}, not {np.dtype(_DTYPES[name])}")
    if not len(parity.images) or parity.images.shape[1:] != images.shape[1:]:
        wanted = ["S", *images.shape[1:]]
        raise ValueError(f"parity_images has shape {list(parity.images.shape)}, not {wanted}")
    for name in ("dense", "subnetwork"):
        array = getattr(parity, name)
        _expect_embeddings(_PARITY[name], array, len(parity.images))
        if array.shape[1] != dense.shape[1]:
            raise ValueError(f"{_PARITY[name]} has {array.shape[1]} dimensions, dense has {dense.shape[1]}")


def _expect_recorded(recorded: Recorded, parity: Parity | None, dense: npt.NDArray[np.float32]) -> None:
    counts = {"probes": len(dense), "parity": 0 if parity is None else len(parity.images)}
    for name, stored in _RECORDED.items():
        array = getattr(recorded, name)
        if array.dtype != np.float32:
            raise ValueError(f"{stored} is {array.dtype}, not float32")
        _expect_embeddings(stored, array, counts[name])
        if array.shape[1] != dense.shape[1]:
            raise ValueError(f"{stored} has {array.shape[1]} dimensions, dense has {dense.shape[1]}")


def _expect_originals(originals: Originals, dense: npt.NDArray[np.float32]) -> None:
    name, array = STORED[-1], originals.embeddings
    if array.dtype != np.float32:
        raise ValueError(f"{name} is {array.dtype}, not float32")
    _expect_embeddings(name, array, len(originals.files))
    if array.shape[1] != dense.shape[1]:
        raise ValueError(f"{name} has {array.shape[1]} dimensions, dense has {dense.shape[1]}")


def _expect_embeddings(name: str, array: npt.NDArray[np.float32], count: int) -> None:
    if array.ndim != 2 or len(array) != count or array.shape[1] == 0:
        raise ValueError(f"{name} has shape {list(array.shape)}, not [{count}, D]")
    sound = unit_lengths(array)
    if not sound.all():
        raise ValueError(f"{name} row {int(np.argmin(sound))} is not finite or not of unit length")
