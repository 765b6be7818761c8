"""The weights of an ONNX file by type and shape, without the package `onnx`: ONNX Runtime does not tell them.

Reads the few fields of ModelProto (onnx.proto) that lead there; numbers, texts and data are skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from runtime_py.backends.weights import Stored, stored

_GRAPH, _INITIALIZER, _DIMS, _DATA_TYPE = 7, 5, 1, 2
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 10: "float16", 21: "uint4", 22: "int4"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_weights(model: Path) -> list[Stored]:
    """Return the initializers of a model that ONNX Runtime has opened.

    Raises:
        ValueError: It is no protobuf message.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [
            each
            for graph in _parts(content, 0, len(content), _GRAPH)
            for tensor in _parts(content, *graph, _INITIALIZER)
            for each in _tensor(content, *tensor)
        ]


def _tensor(content: mmap.mmap, start: int, end: int) -> list[Stored]:
    shape: list[int] = []
    dtype = ""
    for number, kind, value, stop in _fields(content, start, end):
        if number == _DIMS and kind == _VARINT:
            shape.append(value)
        elif number == _DIMS and kind == _BYTES:  # packed
            while value < stop:
                size, value = _varint(content, value, stop)
                shape.append(size)
        elif number == _DATA_TYPE:
            dtype = _TYPES.get(value, "")
    return stored(dtype, shape)


def _parts(content: mmap.mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    for number, kind, value, stop in _fields(content, start, end):
        if number == wanted and kind == _BYTES:
            yield value, stop


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, value and end of each field; the value of bytes is where they start."""
    while start < end:
        tag, start = _varint(content, start, end)
        number, kind = tag >> 3, tag & 7
        value, stop = start, start
        if kind == _VARINT:
            value, stop = _varint(content, start, end)
        elif kind == _BYTES:
            length, value = _varint(content, start, end)
            stop = value + length
        elif kind in (_FIXED64, _FIXED32):
            stop = start + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        if stop > end:
            raise ValueError(f"a field ends at byte {stop:,}, the message at {end:,}")
        yield number, kind, value, stop
        start = stop


def _varint(content: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = shift = 0
    while start < end and shift < 70:
        byte = content[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value, start
    raise ValueError(f"no number ends before byte {start:,}")
