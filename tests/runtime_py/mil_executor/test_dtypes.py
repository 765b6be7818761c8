"""Packed integers against bits spelled out as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.mil_executor.dtypes import BLOB_NAMES, NUMPY, PROTO_NAMES, SUB_BYTE_BITS, decode, unpack


def packed(values: list[int], width: int) -> bytes:
    """Write the values one after another, lowest bit first, and cut the stream into bytes."""
    stream = "".join(format(v % 2**width, f"0{width}b")[::-1] for v in values)
    stream += "0" * (-len(stream) % 8)
    return bytes(int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8))


@given(st.data(), st.sampled_from([1, 2, 3, 4, 6, 8]), st.booleans())
def test_unpack_returns_what_was_packed(data: st.DataObject, width: int, signed: bool) -> None:
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
    values = data.draw(st.lists(st.integers(low, high), max_size=40))
    assert unpack(packed(values, width), width, len(values), signed=signed).tolist() == values


@pytest.mark.parametrize("dtype", sorted(NUMPY))
def test_decode_reads_little_endian(dtype: str) -> None:
    values = np.array([0, 1, 1], NUMPY[dtype])
    found = decode(values.astype(values.dtype.newbyteorder("<")).tobytes(), dtype, 3)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("dtype", sorted(SUB_BYTE_BITS))
def test_decode_knows_the_sign_of_sub_byte_types(dtype: str) -> None:
    ones = decode(b"\xff", dtype, 1)
    assert ones.tolist() == ([-1] if dtype.startswith("int") else [2 ** SUB_BYTE_BITS[dtype] - 1])


def test_decode_refuses_too_few_bytes_and_text() -> None:
    with pytest.raises(ValueError, match="3 values of fp16 need 6 bytes, there are 5"):
        decode(b"\0" * 5, "fp16", 3)
    with pytest.raises(ValueError, match="3 values of uint6 need 3 bytes, there are 2"):
        decode(b"\0" * 2, "uint6", 3)
    with pytest.raises(ValueError, match="type string"):
        decode(b"abc", "string", 1)


def test_numbers_are_those_of_coremltools() -> None:
    """Against the messages themselves, and the constants that coremltools writes weights with."""
    from exporters.targets.mlprogram.coremltools_import import coremltools

    coremltools()
    from coremltools.proto import MIL_pb2

    ours = {"fp16": "FLOAT16", "fp32": "FLOAT32", "fp64": "FLOAT64"}
    for number, name in PROTO_NAMES.items():
        assert MIL_pb2.DataType.Name(number) == ours.get(name, name.upper())
    assert set(BLOB_NAMES.values()) <= set(PROTO_NAMES.values())
