"""Pictures at their original size, with the embeddings that they must have after decoding and the stated resize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Floats

_FILES, _ENDS, _EMBEDDINGS = "originals", "original_ends", "original_embeddings"
STORED = (_FILES, _ENDS, _EMBEDDINGS)
"""The arrays of the npz."""
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}
"""How a file begins -> how its name ends."""


@dataclass(frozen=True, eq=False)
class Originals:
    """Picture files; `Probes` validates them.

    Args:
        files: PNG or JPEG files, one or more.
        embeddings: float32 [K, D], unit length, of each file after the stated resize: the torch subnetwork's; of a
            quantised artifact its own at the export, since no float reference is as close.
    """

    files: tuple[bytes, ...]
    embeddings: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """File names, in order: original_00.png and so on."""
        return tuple(f"original_{number:02d}{suffix_of(file)}" for number, file in enumerate(self.files))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of `STORED`."""
        return {**packed(self.files), _EMBEDDINGS: self.embeddings}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Originals:
        """Read what `arrays` returned.

        Raises:
            ValueError: They are not that.
        """
        return cls(unpacked(arrays), arrays[_EMBEDDINGS])


def suffix_of(file: bytes) -> str:
    """Return how the name of a picture file ends.

    Raises:
        ValueError: It is no PNG and no JPEG.
    """
    for start, suffix in SUFFIXES.items():
        if file.startswith(start):
            return suffix
    raise ValueError("originals hold a file that is neither PNG nor JPEG")


def packed(files: tuple[bytes, ...]) -> dict[str, npt.NDArray[Any]]:
    """Put files one behind the other: uint8 [bytes], and int64 [K] with the end of each."""
    return {
        _FILES: np.frombuffer(b"".join(files), np.uint8),
        _ENDS: np.cumsum([len(file) for file in files], dtype=np.int64),
    }


def unpacked(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[bytes, ...]:
    """Return the files that `packed` was given.

    Raises:
        ValueError: The arrays are not that; names the one at fault.
    """
    content, ends = arrays[_FILES], arrays[_ENDS]
    if content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(f"{_FILES} is {content.dtype} {list(content.shape)}, not uint8 [bytes]")
    if ends.dtype != np.int64 or ends.ndim != 1 or not len(ends):
        raise ValueError(f"{_ENDS} is {ends.dtype} {list(ends.shape)}, not int64 [1 or more]")
    starts = np.concatenate([[0], ends[:-1]])
    if (ends <= starts).any() or starts[0] < 0 or ends[-1] != len(content):
        raise ValueError(f"{_ENDS} does not divide {len(content):,} bytes into files")
    files = tuple(content[start:end].tobytes() for start, end in zip(starts, ends, strict=True))
    for file in files:
        suffix_of(file)
    return files
