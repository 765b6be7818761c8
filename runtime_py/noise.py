"""Keeps lines that runtimes print about themselves, and that mean nothing to a user, off the screen."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

_alone = threading.RLock()
_hidden: tuple[int, int] | None = None
"""While lines are held back: the thread whose block it is, and a descriptor of the real standard error."""


@contextmanager
def without_lines(patterns: Sequence[str]) -> Iterator[None]:
    """Leave out some of the lines that this process writes to its standard error during the block.

    Native code and loggers write to the file descriptor, so that is what is watched. All other lines, of whatever
    thread, follow when the block ends; a process that is killed in it loses them. Where no temporary file can be made,
    as on a device whose disk is read-only, nothing is left out.

    Args:
        patterns: Regular expressions; a line that one of them matches from its start is left out.
    """
    global _hidden
    with _alone:
        try:
            _flush()
            kept = os.dup(2)
        except (OSError, ValueError):  # there is no standard error: nothing to keep clean
            yield
            return
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - where none can be made, that is no fault of the block's
        except OSError:
            os.close(kept)
            yield
            return
        outer = _hidden
        try:
            _hidden = threading.get_ident(), kept
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                _flush()
                os.dup2(kept, 2)
                _hidden = outer
                file.seek(0)
                _write(_others(file.read(), patterns))
        finally:
            file.close()
            os.close(kept)


def _others(written: bytes, patterns: Sequence[str]) -> bytes:
    noise = re.compile(b"|".join(b"(?:%s)" % pattern.encode() for pattern in patterns))
    return b"".join(line for line in written.splitlines(keepends=True) if not noise.match(line))


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()


def _write(lines: bytes) -> None:
    with suppress(OSError):  # a full or closed stream
        while lines:
            lines = lines[os.write(2, lines) :]


def _after_fork() -> None:
    """In a forked process the block of another thread never ends: take standard error and the lock back from it."""
    global _alone, _hidden
    here = threading.get_ident()
    if _hidden is not None and _hidden[0] == here:
        return
    if _hidden is not None:
        os.dup2(_hidden[1], 2)
        _hidden = None
    _alone = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
