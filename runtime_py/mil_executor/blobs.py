"""weight.bin: a 64-byte header, then pairs of a 64-byte record and its data, each aligned to 64 bytes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from runtime_py.errors import BundleError
from runtime_py.mil_executor.dtypes import BLOB_NAMES, Array, bits, decode

_RECORD_BYTES = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2


class WeightFile:
    """One opened weight file; tensors are read when they are asked for.

    Args:
        path: The file.

    Raises:
        BundleError: Missing, too short, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise BundleError(path, f"cannot be read as a weight file ({error})") from error
        if self._bytes.size < _RECORD_BYTES:
            raise BundleError(path, f"has {self._bytes.size} bytes, less than its own header")
        version = int(np.frombuffer(self._bytes[4:8].tobytes(), "<u4")[0])
        if version != _VERSION:
            raise BundleError(path, f"has version {version}; version {_VERSION} can be read")

    def read(self, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
        """Return the tensor whose record starts at `offset`.

        Args:
            offset: Byte offset of the record, as the program states it.
            dtype: MIL type that the program states.
            shape: Shape that the program states.

        Raises:
            BundleError: No record there, another type, or data that do not have the stated size.
        """
        where = f"the record at byte {offset}"
        record = self._bytes[offset : offset + _RECORD_BYTES].tobytes()
        if len(record) < _RECORD_BYTES:
            raise BundleError(self.path, f"{where} lies beyond the end of its {self._bytes.size} bytes")
        sentinel, stored = (int(v) for v in np.frombuffer(record[:8], "<u4"))
        size, start = (int(v) for v in np.frombuffer(record[8:24], "<u8"))
        if sentinel != _SENTINEL:
            raise BundleError(self.path, f"{where} does not begin with the mark of a record")
        found = BLOB_NAMES.get(stored, f"unknown ({stored})")
        if found != dtype:
            raise BundleError(self.path, f"{where} holds {found}, the program expects {dtype}")
        if start + size > self._bytes.size:
            raise BundleError(
                self.path,
                f"{where} has {size} bytes at {start}, beyond the end of its {self._bytes.size} bytes",
            )
        count = math.prod(shape)
        expected = -(-count * bits(dtype) // 8)
        # Sub-byte types are padded to whole bytes, so that their size may exceed the bits in use.
        if size < expected or (size != expected and bits(dtype) >= 8):
            raise BundleError(
                self.path,
                f"{where} has {size} bytes, a tensor {dtype} {list(shape)} has {expected}",
            )
        return decode(self._bytes[start : start + size].tobytes(), dtype, count).reshape(shape)
