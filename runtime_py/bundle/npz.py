"""Reads npz files that may be damaged or hostile: nothing is inflated before its size is known and allowed."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_DAMAGE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, MemoryError, OverflowError,
    # What a header may drive Python's own tokenizer and parser to.
    SyntaxError, RecursionError, tokenize.TokenError,
    # An unknown compression, or the flag of an encrypted file: one flipped bit is enough.
    NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

ALWAYS_ALLOWED_BYTES = 64 * 2**20
"""Arrays of this size in all are read however small the file is: pictures of one colour compress that well."""

MOST_INFLATION = 50
"""Beyond that, the arrays of a file are at most so many times its size. Pictures of glyphs reach 2, photographs
less; what deflate can be made to reach is 1,032."""


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return every array of an npz, by name; pickles are refused.

    Raises:
        ValueError: Absent, no npz, damaged, with pickles, or larger than `most_bytes`; says which.
    """
    try:
        with zipfile.ZipFile(path) as stored:
            entries = stored.infolist()
            allowed, asked = most_bytes(path), sum(entry.file_size for entry in entries)
            if asked > allowed:
                raise ValueError(
                    f"its arrays would take {asked:,} bytes, a file of {path.stat().st_size:,} bytes may hold "
                    f"{allowed:,}"
                )
            found: dict[str, npt.NDArray[Any]] = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if name == entry.filename or name in found:
                    raise ValueError(f"its entry {entry.filename!r} is not an array of its own")
                with stored.open(entry) as content:
                    found[name] = _array(content, entry.file_size)
            return found
    except _DAMAGE as error:
        raise ValueError(f"no readable npz without pickles: {error or type(error).__name__}") from error


def most_bytes(path: Path) -> int:
    """Return the bytes that the arrays of a file may take in all."""
    return max(ALWAYS_ALLOWED_BYTES, MOST_INFLATION * path.stat().st_size)


def _array(content: IO[bytes], size: int) -> npt.NDArray[Any]:
    """Read one array whose header agrees with the size of its entry, so that nothing more is ever reserved."""
    formats = np.lib.format
    version = formats.read_magic(content)
    readers = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the npy format is not read here")
    shape, _, dtype = readers[version](content)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which only a pickle could read")
    stated = math.prod(shape) * dtype.itemsize
    if stated != size - content.tell():
        raise ValueError(f"an array of {list(shape)} {dtype} has {stated} bytes, not {size - content.tell()}")
    content.seek(0)
    return np.asarray(formats.read_array(content, allow_pickle=False))
