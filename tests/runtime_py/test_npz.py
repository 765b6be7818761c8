from __future__ import annotations

import numpy as np
import pytest

from runtime_py.npz import read_npz

ARRAYS = {"images": np.arange(150, dtype=np.uint8).reshape(1, 50, 3), "labels": np.array([1])}


def test_what_was_written_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **ARRAYS)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


def test_any_damage_to_any_byte_is_a_value_error_or_does_no_harm(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **ARRAYS)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        for content in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 0x01]) + whole[position + 1 :],
            whole[:position] + bytes([whole[position] ^ 0x80]) + whole[position + 1 :],
        ):
            path.write_bytes(content)
            try:
                read_npz(path)
            except ValueError:
                refused += 1
    assert refused > len(whole)


def test_pickles_single_arrays_and_absent_files_are_refused(tmp_path):
    np.savez(tmp_path / "pickle.npz", a=np.array([{}]))
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name in ("pickle.npz", "single.npy", "absent.npz", "."):
        with pytest.raises(ValueError, match="no readable npz"):
            read_npz(tmp_path / name)
