"""The files that a check writes: their places are tried before the work, their content is whole or not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from runtime_py.disk.files import write_atomically
from runtime_py.disk.scratch import scratch_path
from runtime_py.errors import BundleError


def place_errors(files: Iterable[Path], read: Iterable[Path] = ()) -> Iterator[BundleError]:
    """Try whether each file could be written, and yield what speaks against it.

    Folders that are missing are made when a file is written, not here. Room on the disk is not asked for.

    Args:
        files: Files that will be written.
        read: Files that the same command reads: none of them may be written over.
    """
    inputs = {os.path.realpath(file) for file in read}
    seen: set[str] = set()
    for file in files:
        name = os.path.realpath(file)
        if name in seen and not _is_written_through(file):
            yield BundleError(file, "is named for two reports", "choose another file for one of them")
        seen.add(name)
        if name in inputs:
            yield BundleError(
                file, "is read by this command, and would be written over", "choose another file"
            )
        try:
            _try(file)
        except OSError as error:
            yield _refused(file, error)


def write_report(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, with the folders above it; see `write_atomically`.

    Raises:
        BundleError: The disk refuses.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
    except OSError as error:
        raise _refused(file, error) from error


def _try(file: Path) -> None:
    if _is_written_through(file):
        return
    target = Path(os.path.realpath(file))
    if target.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    above = next(folder for folder in target.parents if os.path.lexists(folder))
    with scratch_path(above, f".{target.name}") as scratch:
        scratch.touch()


def _is_written_through(file: Path) -> bool:
    """Tell whether it is a device, a pipe or a stream: opened, not replaced."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _refused(file: Path, error: OSError) -> BundleError:
    return BundleError(file, f"cannot be written ({error.strerror})", "choose another file")
