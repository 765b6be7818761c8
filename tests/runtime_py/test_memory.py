"""The memory watch counts what the program took, and nothing that only its surroundings know of."""

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime_py.memory import MemoryWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a peak can be read on Linux only")

TAKEN = 16 * 2**20


def test_what_the_program_takes_counts(tmp_path: Path) -> None:
    watch = MemoryWatch(os.getpid(), tmp_path / "artifact")
    region = _take()
    assert TAKEN <= watch.added_bytes() < TAKEN + 2**20
    region.close()
    assert watch.added_bytes() >= TAKEN - 2**20, "the peak stays, less the code that was touched since"


SMALL_BLOCKS = """
import ctypes, os, sys
from pathlib import Path
import torch  # hundreds of libraries: it takes memory to read of them
from runtime_py.memory import MemoryWatch
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
def take():
    blocks = [library.malloc(4096) for _ in range(int(sys.argv[1]) // 4096)]
    for block in blocks:
        ctypes.memset(block, 1, 4096)
    return blocks
for block in take():
    library.free(block)
watch = MemoryWatch(os.getpid(), Path("artifact"))
blocks = take()
print(watch.added_bytes())
"""


def test_small_blocks_count_although_much_was_freed_before() -> None:
    """Free pages of the heap would be filled first, and be seen to be taken by nobody.

    In a process of its own, as memory is measured: in an old one holes of less than a page stay, and are filled.
    """
    taken = 4 * 2**20
    command = [sys.executable, "-c", SMALL_BLOCKS, str(taken)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.98 * taken < int(done.stdout) < 1.05 * taken


def test_a_region_that_the_program_does_not_know_does_not_count(tmp_path: Path) -> None:
    """As an emulator's own: it is in the process, and not in the maps that the program inside is shown."""
    watch = MemoryWatch(os.getpid(), tmp_path / "artifact")
    shown = tmp_path / "maps"
    shown.write_text(_shown_by_an_emulator())
    watch._inside = shown
    region = _take()
    assert watch.added_bytes() < 2**20
    region.close()


def test_of_a_region_that_the_program_knows_in_part_that_part_counts(tmp_path: Path) -> None:
    """The system joins regions that lie side by side: an emulator's own with one of the program."""
    watch = MemoryWatch(os.getpid(), tmp_path / "artifact")
    before = _shown_by_an_emulator()
    region = _take(TAKEN // 4, TAKEN)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    shown = tmp_path / "maps"
    shown.write_text(f"{before}{start:x}-{start + TAKEN // 2:x} rw-p 00000000 00:00 0\n")
    watch._inside = shown
    assert TAKEN // 4 <= watch.added_bytes() < TAKEN // 4 + 2**20


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
