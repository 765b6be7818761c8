"""Keeps the toolchains' noise off the screen and in a file.

Converters print from C++ and Python, through streams, warnings and loggers; file descriptors catch it all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send everything that this process prints to `log` (appended) for the time of the block.

    Not for threads that print at the same time: file descriptors belong to the whole process.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    try:
        with log.open("a", encoding="utf-8", errors="replace", buffering=1) as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            try:
                with redirect_stdout(file), redirect_stderr(file):
                    yield
            finally:
                file.flush()
                for descriptor, original in zip((1, 2), kept, strict=True):
                    os.dup2(original, descriptor)
    finally:
        for original in kept:
            os.close(original)
