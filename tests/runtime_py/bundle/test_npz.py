from __future__ import annotations

import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from runtime_py.bundle.npz import ALWAYS_ALLOWED_BYTES, MOST_INFLATION, read_npz

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


def write_entry(path: Path, header: dict[str, object], content: bytes, repeat: int = 1) -> None:
    """One deflated array whose header may say anything."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, header)
        for _ in range(repeat):
            entry.write(content)


def bytes_header(size: int) -> dict[str, object]:
    return {"descr": "|u1", "fortran_order": False, "shape": (size,)}


def refused_at_once(path: Path) -> str:
    started = time.process_time()
    with pytest.raises(ValueError, match="no readable npz") as caught:
        read_npz(path)
    assert time.process_time() - started < 0.5
    return str(caught.value)


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    bomb = tmp_path / "bomb.npz"
    size = MOST_INFLATION * 10**6 + ALWAYS_ALLOWED_BYTES
    write_entry(bomb, bytes_header(size), bytes(10**6), size // 10**6)
    assert bomb.stat().st_size < 200_000
    assert "its arrays would take" in refused_at_once(bomb)


def test_many_small_bombs_are_one(tmp_path):
    path = tmp_path / "bombs.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(9):
            file.writestr(f"{number}.npy", bytes(8 * 2**20))
    assert "its arrays would take" in refused_at_once(path)


@pytest.mark.parametrize(
    "header",
    [
        bytes_header(10**15),
        bytes_header(-5),
        {"descr": "|u1", "fortran_order": False, "shape": (0, 10**15)},
        {"descr": "|O", "fortran_order": False, "shape": (5,)},
        {"descr": "<f8", "fortran_order": False, "shape": (5,)},
    ],
)
def test_a_header_that_its_entry_contradicts_reserves_nothing(tmp_path, header):
    write_entry(tmp_path / "a.npz", header, b"12345")
    refused_at_once(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "header", ["{'descr': (", "{'descr': (1L", "(" * 5000, "\\", "{'descr': '|u1', 'shape': (3"]
)
def test_a_header_that_is_no_python_is_a_value_error(tmp_path, header):
    text = header.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(ValueError, match="no readable npz"):
        read_npz(tmp_path / "a.npz")


def test_a_directory_that_lies_about_the_size_is_found_out(tmp_path):
    path = tmp_path / "a.npz"
    write_entry(path, bytes_header(10**6), bytes(10**6))
    content = bytearray(path.read_bytes())
    where = content.index(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    struct.pack_into("<I", content, where, 128 + 1000)
    path.write_bytes(content)
    refused_at_once(path)


def test_one_colour_compresses_and_is_honest(tmp_path):
    images = np.full((312, 224, 224, 3), 127, np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    assert read_npz(tmp_path / "a.npz")["images"].shape == images.shape


def test_names_that_clash_or_are_no_arrays_are_refused(tmp_path):
    for names in (("a.npy", "a.npy"), ("a.txt",)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            for name in names:
                with file.open(name, "w") as entry:
                    np.lib.format.write_array(entry, np.arange(3))
        assert "not an array of its own" in refused_at_once(tmp_path / "a.npz")
