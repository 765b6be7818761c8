from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunnet.data.official.plain_pickle import read_plain_pickle
from prunnet.errors import DatasetError
from tests.prunnet.data import trees

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def _read(tmp_path: Path, data: bytes) -> Any:
    (tmp_path / "gnd.pkl").write_bytes(data)
    return read_plain_pickle(tmp_path / "gnd.pkl")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN, protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(tmp_path: Path, value: Any, protocol: int) -> None:
    assert _read(tmp_path, pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array([], np.float64),
        np.array([1, -2], ">i2"),
        np.array([True, False]),
        np.float32(0.5),
        np.int64(-7),
    ],
)
def test_numpy_numbers_come_back_as_lists(tmp_path: Path, array: Any, protocol: int) -> None:
    assert _read(tmp_path, pickle.dumps([array], protocol)) == [array.tolist()]


def test_a_pickle_of_python_2_and_an_old_numpy(tmp_path: Path) -> None:
    """Written out opcode by opcode: byte strings, and an array from `numpy.core`."""
    data = (
        b"}(U\x04easycnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'i4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'\\x05\\x00\\x00\\x00\\xff\\x00\\x00\\x00'\ntbU\x03bbx](F1.5\nI2\neu."
    )
    assert _read(tmp_path, data) == {"easy": [5, 255], "bbx": [1.5, 2]}


class _Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (_Calls(os.system, "touch pwned"), "system"),
        (_Calls(eval, "1"), ".eval,"),
        (_Calls(getattr, "a", "upper"), ".getattr,"),
        (_Calls(bytearray, 10), ".bytearray,"),
        (_Calls(np.load, "x"), "numpy.load"),
        (_Calls(print), ".print,"),
        (Path("x"), "pathlib"),
        (np.array([{}, []], object), "'O8'"),
        (np.array(["text"]), "'U4'"),
        (np.zeros(2, [("a", "i4")]), "'V4'"),
        (1 + 2j, ".complex,"),
    ],
)
def test_nothing_else_is_admitted(
    tmp_path: Path, value: Any, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4):
        with pytest.raises(DatasetError) as caught:
            _read(tmp_path, pickle.dumps([value], protocol))
        assert named in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cnumpy\nndarray.__init__.__globals__\n.",  # a dotted name is no way around
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",  # another codec
        b"c_codecs\nencode\n}(V__doc__\nVx\nub0N.",  # setting an attribute of what may be called, and returning None
        b"cnumpy\nndarray\n}(V__doc__\nVx\nub0N.",
        b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nset\n(I0\ntS'b'\ntR.",
        b"cnumpy\nndarray\n.",  # a stand-in itself
        b"Pname\n.",  # a persistent id
        b"\x82\x01.",  # the registry of extensions
    ],
)
def test_ways_around_are_closed(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DatasetError, match=r"gnd\.pkl is (refused|damaged)"):
        _read(tmp_path, data)


def test_an_array_that_lies_about_its_size(tmp_path: Path) -> None:
    good = pickle.dumps(np.arange(3, dtype=np.int32), 2)
    assert good.count(b"K\x03\x85") == 1
    with pytest.raises(DatasetError, match="bytes are not as many"):
        _read(tmp_path, good.replace(b"K\x03\x85", b"K\x7f\x85"))


def test_a_short_file_does_not_grow(tmp_path: Path) -> None:
    """Each list names the one before twice: 2^60 items if they were copied."""
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    read = _read(tmp_path, pickle.dumps(value, 2))
    assert read[0] is read[1]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_or_plain(tmp_path: Path, data: st.DataObject) -> None:
    good = bytearray(pickle.dumps({**trees.REVISITED, "a": np.arange(4)}, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    try:
        value = _read(tmp_path, bytes(good[:cut]))
    except DatasetError as error:
        assert "gnd.pkl" in str(error)
        return
    stream = io.BytesIO()
    pickle.dump(value, stream)
    assert b"prunnet" not in stream.getvalue() and b"numpy" not in stream.getvalue()
