"""MIL's data types: their numbers in the file, their numpy types, and how sub-byte integers are packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PROTO_NAMES = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 21: "int8", 22: "int16", 23: "int32",
    24: "int64", 25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4",
    36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3",
}  # fmt: skip
"""`DataType` of MIL.proto."""

BLOB_NAMES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1",
    10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
}  # fmt: skip
"""Data types of weight.bin, which numbers them differently."""

NUMPY: dict[str, type[np.generic]] = {
    "bool": np.bool_, "fp16": np.float16, "fp32": np.float32, "fp64": np.float64, "int8": np.int8,
    "int16": np.int16, "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "uint16": np.uint16,
    "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip

SUB_BYTE_BITS = {"int4": 4, "uint6": 6, "uint4": 4, "uint3": 3, "uint2": 2, "uint1": 1}


def bits(dtype: str) -> int:
    """Return the bits that one value of a MIL type takes in the file."""
    return SUB_BYTE_BITS[dtype] if dtype in SUB_BYTE_BITS else np.dtype(NUMPY[dtype]).itemsize * 8


def decode(raw: bytes, dtype: str, count: int) -> Array:
    """Read `count` values of a MIL type from little-endian bytes.

    Args:
        raw: The bytes; at least `count * bits(dtype)` bits.
        dtype: A MIL type with a numpy type, or a sub-byte integer, which is packed lowest bits first.
        count: How many values.

    Returns:
        Array [count]; sub-byte integers come as int8 or uint8.

    Raises:
        ValueError: The bytes are too few, or the type is not numeric.
    """
    if dtype not in SUB_BYTE_BITS and dtype not in NUMPY:
        raise ValueError(f"values of type {dtype} cannot be read from bytes")
    needed = -(-count * bits(dtype) // 8)
    if len(raw) < needed:
        raise ValueError(f"{count} values of {dtype} need {needed} bytes, there are {len(raw)}")
    if dtype in SUB_BYTE_BITS:
        return unpack(raw, SUB_BYTE_BITS[dtype], count, signed=dtype.startswith("int"))
    return np.frombuffer(raw, NUMPY[dtype], count)


def unpack(raw: bytes, width: int, count: int, *, signed: bool = False) -> Array:
    """Read `count` integers of at most 8 bits, packed lowest bits first, as int8 [count] or uint8 [count].

    >>> unpack(bytes([0b11_10_01_00]), 2, 4).tolist()
    [0, 1, 2, 3]
    >>> unpack(bytes([0xF1]), 4, 2, signed=True).tolist()
    [1, -1]
    """
    stream = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[: count * width]
    values = stream.reshape(count, width) @ (1 << np.arange(width))
    if not signed:
        return values.astype(np.uint8)
    return np.where(values >= 1 << (width - 1), values - (1 << width), values).astype(np.int8)
