"""The memory watch counts what the program took, and nothing that only its surroundings know of.

Each is measured in a process of its own, as the memory of an artifact is. In an old one much of what is taken fills
holes in the heap, and reading about thousands of regions raises the very peak that is read.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import pytest

from runtime_py.memory import MemoryWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a peak can be read on Linux only")

Measured = TypeVar("Measured")
TAKEN = 16 * 2**20
SMALL = 4 * 2**20


def test_what_the_program_takes_counts(tmp_path: Path) -> None:
    held, after = _in_a_fresh_process(_take_and_close, tmp_path)
    assert TAKEN <= held < TAKEN + 2**20
    assert after >= TAKEN - 2**20, "the peak stays, less the code that was touched since"


def test_small_blocks_count_although_much_was_freed_before(tmp_path: Path) -> None:
    """Free pages of the heap would be filled first, and be seen to be taken by nobody."""
    assert 0.98 * SMALL < _in_a_fresh_process(_take_small_blocks_twice, tmp_path) < 1.05 * SMALL


def test_a_region_that_the_program_does_not_know_does_not_count(tmp_path: Path) -> None:
    """As an emulator's own: it is in the process, and not in the maps that the program inside is shown."""
    assert _in_a_fresh_process(_take_unknown, tmp_path) < 2**20


def test_a_mapped_file_whose_path_is_no_text_does_not_count(tmp_path: Path) -> None:
    assert _in_a_fresh_process(_map_a_strange_file, tmp_path) < 2**20


def test_of_a_region_that_the_program_knows_in_part_that_part_counts(tmp_path: Path) -> None:
    """The system joins regions that lie side by side: an emulator's own with one of the program."""
    assert TAKEN // 4 <= _in_a_fresh_process(_take_known_in_part, tmp_path) < TAKEN // 4 + 2**20


def _in_a_fresh_process(measure: Callable[[Path], Measured], folder: Path) -> Measured:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, folder).result()


def _take_and_close(folder: Path) -> tuple[int, int]:
    """Return the bytes added while a region is held, and after it was given back."""
    watch = MemoryWatch(os.getpid(), folder / "artifact")
    region = _take()
    held = watch.added_bytes()
    region.close()
    return held, watch.added_bytes()


def _take_small_blocks_twice(folder: Path) -> int:
    """Return the bytes added by `SMALL` bytes of blocks, after as many were taken and freed before the watch."""
    import torch  # noqa: F401  # hundreds of libraries: it takes memory to read of them

    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]

    def take() -> list[int]:
        blocks = [library.malloc(mmap.PAGESIZE) for _ in range(SMALL // mmap.PAGESIZE)]
        for block in blocks:
            ctypes.memset(block, 1, mmap.PAGESIZE)
        return blocks

    for block in take():
        library.free(block)
    watch = MemoryWatch(os.getpid(), folder / "artifact")
    take()
    return watch.added_bytes()


def _take_unknown(folder: Path) -> int:
    """Return the bytes added by a region that the maps shown do not have."""
    watch = MemoryWatch(os.getpid(), folder / "artifact")
    _show(watch, folder / "maps", _shown_by_an_emulator())
    region = _take()
    added = watch.added_bytes()
    region.close()
    return added


def _map_a_strange_file(folder: Path) -> int:
    """Return the bytes added by a file that is mapped and is not the artifact; its name is not UTF-8."""
    file = folder / os.fsdecode(b"\xff\xfe")
    file.write_bytes(bytes(TAKEN))
    watch = MemoryWatch(os.getpid(), folder / "artifact")
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        return watch.added_bytes()


def _take_known_in_part(folder: Path) -> int:
    """Return the bytes added by a region whose first half is shown, of which the first half is not resident."""
    watch = MemoryWatch(os.getpid(), folder / "artifact")
    before = _shown_by_an_emulator()
    _show(watch, folder / "maps", before)
    region = _take(TAKEN // 4, TAKEN)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    _show(watch, folder / "maps", f"{before}{start:x}-{start + TAKEN // 2:x} rw-p 00000000 00:00 0\n")
    return watch.added_bytes()


def _show(watch: MemoryWatch, file: Path, maps: str) -> None:
    """Let these be what the program inside is shown, and read once: the code of reading is touched before it counts."""
    file.write_text(maps)
    watch._inside = file
    watch.added_bytes()


def _shown_by_an_emulator() -> str:
    """The maps of this process without its executable."""
    lines = Path("/proc/self/maps").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if os.path.realpath(sys.executable) not in line)


def _take(first: int = 0, end: int = TAKEN) -> mmap.mmap:
    """Return a new region of `TAKEN` bytes, of which those from `first` to `end` are resident."""
    region = mmap.mmap(-1, TAKEN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(first, end, mmap.PAGESIZE):
        region[page] = 1
    return region
