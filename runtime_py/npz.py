"""Reads npz files that may be damaged."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_DAMAGE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, MemoryError, OverflowError,
    # An unknown compression, or the flag of an encrypted file: one flipped bit is enough.
    NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return every array of an npz, by name; pickles are refused.

    Raises:
        ValueError: Absent, no npz, damaged, or with pickles; says which.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except _DAMAGE as error:
        raise ValueError(f"no readable npz without pickles: {error}") from error
