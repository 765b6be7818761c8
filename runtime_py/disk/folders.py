"""Writes a folder so that a kill, at any moment, leaves the old one, the new one, or nothing under its name."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime_py.disk.scratch import scratch_path


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Give a new folder beside `out` to fill; when the block ends well, it is on disk and stands at `out`.

    A folder that is there is replaced in one step of the file system, where the system has one. If the block
    raises, `out` stays as it is. Temporary folders of processes that died here before are removed.

    Args:
        out: Absolute path. Ask `is_replaceable` first.

    Yields:
        An empty folder whose name `runtime_py.disk.scratch` gives; it is never a bundle.

    Raises:
        OSError: The disk refuses.
    """
    with _made_parents(out), scratch_path(out.parent, f".{out.name}") as scratch:
        scratch.mkdir()
        yield scratch
        for parent, _, names in os.walk(scratch):
            for name in names:
                _sync(Path(parent, name))
            _sync(Path(parent))
        _move_into_place(scratch, out)


@contextmanager
def _made_parents(out: Path) -> Iterator[None]:
    """Make the folders above `out`; those that are new and still empty go again if the block raises."""
    new = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in new:
            with suppress(OSError):  # a neighbour has filled it
                folder.rmdir()
        raise


def is_replaceable(out: Path, marker: str) -> bool:
    """Tell whether `out` is absent, an empty folder, or a folder with a file `marker`: one of ours."""
    if out.is_symlink() or not out.is_dir():
        return not out.exists() and not out.is_symlink()
    return (out / marker).is_file() or not any(out.iterdir())


def _move_into_place(scratch: Path, out: Path) -> None:
    try:
        scratch.rename(out)  # first: somebody else may make it between a look and this
        exchanged = True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        exchanged = _exchange(scratch, out)
    if not exchanged:
        # No atomic exchange on this system: between the two renames there is nothing at `out`.
        older = scratch.with_name(f"{scratch.name}-old")
        out.rename(older)
        try:
            scratch.rename(out)
        except OSError:
            older.rename(out)
            raise
        shutil.rmtree(older, ignore_errors=True)
    _sync(out.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step of the file system; False if the system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    here, swap_on_linux, swap_on_macos = -100, 2, 2
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        done = library.renameat2(here, os.fsencode(one), here, os.fsencode(other), swap_on_linux)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        done = library.renamex_np(os.fsencode(one), os.fsencode(other), swap_on_macos)
    else:
        return False
    return bool(done == 0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
