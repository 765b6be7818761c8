"""What loading an artifact and embedding one image adds to a process, at its peak (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

RESET_PEAK = "5"
"""Written to clear_refs it sets VmHWM back to the present size (Linux, proc(5))."""


class MemoryWatch:
    """Reads how far the memory of a process grew above what it had when the watch was made.

    The code of libraries, which the first inference touches, is taken off. So is what an emulator takes for itself,
    which is not the device's and grows with the threads, so with the machine's cores: the code that it makes in
    memory and, where the process is this one, every region that the program inside does not know of. (Of another
    process the program's own view cannot be read: there an emulator's bookkeeping counts.)

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
        self._artifact = str(artifact.resolve())  # as the system lists it
        self._inside = Path("/proc/self/maps") if process == os.getpid() else None
        # Once for nothing: an emulator translates this very code, which takes memory while it runs.
        self._measured("VmRSS")
        if process == os.getpid():
            _give_back_free_heap()
        Path(f"/proc/{process}/clear_refs").write_text(RESET_PEAK)
        self._before = self._measured("VmRSS")

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this system shows peaks."""
        return Path("/proc/self/clear_refs").exists()

    def added_bytes(self) -> int:
        """Return the bytes that came on top since the watch was made, at the peak."""
        return max(self._measured("VmHWM") - self._before, 0)

    def _measured(self, field: str) -> int:
        """Bytes of a field of the process' status, less what is not the model's.

        All is read at once, or code would come between.
        """
        smaps, status = self._smaps.read_text(), self._status.read_text()
        inside = None if self._inside is None else _regions(self._inside.read_text())
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024 - self._others_bytes(smaps, inside)

    def _others_bytes(self, smaps: str, inside: list[tuple[int, int]] | None) -> int:
        """Resident bytes of every mapped file but the artifact, of code without a file, and of what is not inside."""
        total, counted = 0, False
        for line in smaps.splitlines():
            words = line.split(maxsplit=5)
            if "-" in words[0]:
                named = words[5] if len(words) == 6 else ""
                made_here = not named and "x" in words[1]
                counted = made_here or (named.startswith("/") and named != self._artifact)
                if inside is not None and not counted:
                    first, end = _region(words[0])
                    counted = not any(start < end and first < stop for start, stop in inside)
            elif counted and words[0] == "Rss:":
                total += int(words[1]) * 1024
        return total


def _regions(maps: str) -> list[tuple[int, int]]:
    return [_region(line.split(maxsplit=1)[0]) for line in maps.splitlines()]


def _region(addresses: str) -> tuple[int, int]:
    """Return where a region starts and ends, from `start-end` in hexadecimal."""
    start, stop = addresses.split("-")
    return int(start, 16), int(stop, 16)


def _give_back_free_heap() -> None:
    """Let the C library return what imports freed, or loading would fill those pages first, uncounted."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc; musl keeps no such reserve
        trim(0)
