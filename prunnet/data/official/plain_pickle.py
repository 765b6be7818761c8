"""Reading a pickle that holds plain values only, without trusting it.

A pickle is a program that may call whatever it names. Here it can name nothing but stand-ins of this file for
numpy's arrays and numbers, which decode bytes as numbers and do nothing else: numpy's own reconstructors are not
reachable either, since they believe what a file says about memory.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prunnet.errors import DatasetError

_LARGEST_BYTES = 64 * 2**20
_NUMBERS = re.compile(r"[biuf][1248]")


def read_plain_pickle(file: Path) -> Any:
    """Read dicts, lists, tuples, sets, strings, numbers and numpy arrays of numbers; arrays come as nested lists.

    Args:
        file: The pickle, of Python 2 or 3.

    Raises:
        DatasetError: The file is not readable, or names anything else.
    """
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise DatasetError(
                f"{file} has more than {_LARGEST_BYTES // 2**20} MiB; the official file is far smaller"
            )
        # The whole file at once: asked for more bytes than there are, a file first makes room for them.
        return _plain(_PlainUnpickler(io.BytesIO(file.read_bytes()), encoding="latin1").load(), {})
    except DatasetError:
        raise
    except pickle.UnpicklingError as error:
        raise DatasetError(f"{file} is refused: {error}; use the official file") from error
    # A damaged pickle fails in whatever way its opcodes happen to: the unpickler documents no closed list.
    except Exception as error:
        raise DatasetError(f"{file} is damaged ({type(error).__name__}: {error}); replace it") from error


class _Dtype:
    """Stands for numpy.dtype: a kind of number and its byte order."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"it holds an array of {code!r}, which are no numbers")
        self._code, self._order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it holds an array of unknown byte order {state[1]!r}")
        self._order = state[1]

    def decode(self, raw: object, count: int) -> list[Any]:
        """Decode exactly `count` numbers."""
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        dtype = np.dtype(f"{self._order}{self._code}")
        if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"it holds an array of {count} numbers whose bytes are not as many")
        return list(np.frombuffer(data, dtype).tolist())


class _Array:
    """Stands for numpy.ndarray."""

    values: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, raw = state
        self.fill(raw, dtype, shape, "F" if by_columns else "C")

    def fill(self, raw: object, dtype: object, shape: object, order: Literal["C", "F"]) -> None:
        """Take the values from bytes."""
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or len(shape) > 4:
            raise pickle.UnpicklingError("it holds an array that is not one of numbers")
        flat = dtype.decode(raw, math.prod(shape))
        self.values = np.array(flat).reshape(shape, order=order).tolist()


def _array(kind: object, shape: object, code: object) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("it holds a subclass of a numpy array")
    return _Array()


def _from_buffer(raw: object, dtype: object, shape: object, order: Literal["C", "F"]) -> _Array:
    array = _Array()
    array.fill(raw, dtype, shape, order)
    return array


def _number(dtype: _Dtype, raw: object) -> Any:
    return dtype.decode(raw, 1)[0]


def _bytes(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands for `bytes()`, by which Python 3 writes those of an empty array."""
    return b""


class _Call:
    """A function that a pickle may call but not change: opcodes also set attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes what it calls")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Call(_bytes),
    ("__builtin__", "bytes"): _Call(_no_bytes),
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    **{
        (f"numpy.{core}.{module}", name): _Call(stand_in)
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _array),
            ("multiarray", "scalar", _number),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _PlainUnpickler(
    pickle._Unpickler
):  # in Python: the one in C makes room for as many values as a file claims
    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name."""
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and only plain values and numpy numbers are read from a pickle"
            )
        return _STAND_INS[module, name]


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Replace arrays by their values; leave nothing of the stand-ins.

    What occurs twice is done once: a short file may name one list in a billion places.
    """
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    if id(value) not in done:
        done[id(value)] = _replaced(value, done)
    return done[id(value)]


def _replaced(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {_plain(key, done): _plain(item, done) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_plain(item, done) for item in value)
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
