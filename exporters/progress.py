"""Says on stderr what long work is being done, and for how long."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from runtime_py.shell import READABLE

Say = Callable[[str], None]
"""Takes one line about what is going on."""


def silent(line: str) -> None:
    """Say nothing: the default of library calls."""


@dataclass(frozen=True)
class Screen:
    """Writes lines with the seconds since its start, e.g. "[  12.3 s] pixel8/tflite: convert".

    Holds the stream itself, so that its lines pass by while the toolchains' output goes to a log.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    started: float = field(default_factory=time.monotonic)

    def __call__(self, line: str) -> None:
        """Write one line at once; a stream that cannot be written any more ends no work."""
        with suppress(OSError):
            print(f"[{time.monotonic() - self.started:6.1f} s] {line}", file=self.stream, flush=True)


@contextmanager
def unhidden() -> Iterator[TextIO]:
    """A duplicate of stderr that still reaches the screen while file descriptor 2 goes elsewhere."""
    stream = second_stderr()
    try:
        yield stream
    finally:
        with suppress(OSError):
            stream.close()


def second_stderr() -> TextIO:
    """Return a duplicate of stderr that takes any text."""
    return os.fdopen(os.dup(2), "w", buffering=1, errors=READABLE)
