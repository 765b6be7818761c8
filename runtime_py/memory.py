"""What loading an artifact and embedding one image adds to a process, at its peak (Linux)."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

Region = tuple[int, int]
"""First address and the one behind the last."""
_ENTRY = 8
"""Bytes of a page in pagemap."""
ATTEMPTS = 3
"""Measurements at most."""
RESET_PEAK = "5"
"""Written to clear_refs it sets VmHWM back to the present size (Linux, proc(5))."""


class MemoryWatch:
    """Reads how far the memory of a process grew above what it had when the watch was made.

    The code of libraries, which the first inference touches, is taken off. So is what an emulator takes for itself,
    which is not the device's and grows with the threads, so with the machine's cores: the code that it makes in
    memory and, where the process is this one, all that the program inside does not know of. (Of another process the
    program's own view cannot be read: there an emulator's bookkeeping counts.)

    Args:
        process: Id of the process; the runtime is imported in it, the artifact not yet opened.
        artifact: File that counts although it is mapped.

    Raises:
        OSError: The system shows no peak of the process: not Linux, or somebody else's process.
    """

    def __init__(self, process: int, artifact: Path) -> None:
        # By its thread: an emulator answers for /proc/<process>/smaps itself, with zeros.
        self._smaps = Path(f"/proc/{process}/task/{process}/smaps")
        self._status = Path(f"/proc/{process}/status")
        self._pages = Path(f"/proc/{process}/task/{process}/pagemap")
        self._artifact = str(artifact.resolve())  # as the system lists it
        self._inside = Path("/proc/self/maps") if process == os.getpid() else None
        for _ in range(2):  # once for nothing: an emulator translates this very code, which takes memory
            others = self._others_bytes()
            if process == os.getpid():
                _give_back_free_heap()  # of imports, and of what was just read
            self._before = self._status_bytes("VmRSS") - others
        Path(f"/proc/{process}/clear_refs").write_text(RESET_PEAK)

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this system shows peaks."""
        return Path("/proc/self/clear_refs").exists()

    def added_bytes(self) -> int:
        """Return the bytes that came on top since the watch was made, at the peak."""
        peak = self._status_bytes("VmHWM")  # first: the other files take memory to read
        return max(peak - self._others_bytes() - self._before, 0)

    def _status_bytes(self, field: str) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024

    def _others_bytes(self) -> int:
        """Resident bytes of every mapped file but the artifact, of code without a file, and of what is not inside."""
        smaps = self._smaps.read_text(errors="surrogateescape")  # paths are bytes
        maps = None if self._inside is None else self._inside.read_text(errors="surrogateescape")
        # An emulator shows neither itself nor its libraries. Without one, nothing is hidden.
        inside = _regions(maps) if maps is not None and _files(smaps) - _files(maps) else None
        total, region, counted = 0, (0, 0), False
        for line in smaps.splitlines():
            words = line.split(maxsplit=5)
            if "-" in words[0]:
                named = words[5] if len(words) == 6 else ""
                made_here = not named and "x" in words[1]
                counted = made_here or (named.startswith("/") and named != self._artifact)
                region = _region(words[0])
            elif words[0] == "Rss:":
                resident = int(words[1]) * 1024
                if counted:
                    total += resident
                elif inside is not None and resident:
                    total += self._outside_bytes(region, inside)
        return total

    def _outside_bytes(self, region: Region, inside: list[Region]) -> int:
        """Resident bytes of a region that the program inside does not know of.

        The system joins regions that lie side by side, so that one may be the program's in part.
        """
        shared = [(max(first, region[0]), min(end, region[1])) for first, end in inside]
        shared = [(first, end) for first, end in shared if first < end]
        if sum(end - first for first, end in shared) == region[1] - region[0]:
            return 0
        return self._resident(*region) - sum(self._resident(first, end) for first, end in shared)

    def _resident(self, first: int, end: int) -> int:
        """Resident bytes of a range of addresses: the highest bit of each page's 64 in pagemap (Linux, proc(5))."""
        with self._pages.open("rb", buffering=0) as pages:
            pages.seek(first // mmap.PAGESIZE * _ENTRY)
            entries = np.frombuffer(pages.read((end - first) // mmap.PAGESIZE * _ENTRY), "<u8")
        return int((entries >> np.uint64(63)).sum()) * mmap.PAGESIZE


def first_plausible(measure: Callable[[], int], artifact_bytes: int) -> int | None:
    """Measure until the result can be one, `ATTEMPTS` times at most.

    Less than the artifact is no measurement, since all of it is read: what was there before the watch gave pages back
    meanwhile.

    Args:
        measure: Returns the bytes that loading the artifact and embedding one image took.
        artifact_bytes: Its size.

    Returns:
        Bytes, or None if nothing could be measured.
    """
    found = (measure() for _ in range(ATTEMPTS))
    return next((used for used in found if used >= artifact_bytes), None)


def _files(maps: str) -> set[str]:
    """Return the paths of the mapped files."""
    return {line[line.index("/") :] for line in maps.splitlines() if "/" in line}


def _regions(maps: str) -> list[Region]:
    return [_region(line.split(maxsplit=1)[0]) for line in maps.splitlines()]


def _region(addresses: str) -> Region:
    """Return where a region starts and ends, from `start-end` in hexadecimal."""
    start, stop = addresses.split("-")
    return int(start, 16), int(stop, 16)


def _give_back_free_heap() -> None:
    """Let the C library return what imports freed, or loading would fill those pages first, uncounted."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc; musl keeps no such reserve
        trim(0)
