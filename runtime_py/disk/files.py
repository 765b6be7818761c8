"""The files of a bundle: which there are, and their hashes; and files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NoReturn

from runtime_py.disk.scratch import scratch_path
from runtime_py.errors import BundleError

MANIFEST = "manifest.json"

_DESCRIPTOR = re.compile(r"/dev/(?:fd/(\d+)|std(out)|std(err))|/proc/self/fd/(\d+)")


def list_files(folder: Path) -> dict[str, Path]:
    """Find every file below `folder`, as relative POSIX path -> path.

    A link to a plain file counts as that file: caches of model hubs store files so, and the hash says whether
    it is the right one. A link to a folder does not, for it may lead back.

    Raises:
        BundleError: A folder that cannot be read; a link that leads to no plain file, a device, a socket:
            anything that is not a plain file or folder.
    """
    found = {}
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        for name in [*folders, *names]:
            path = Path(parent, name)
            try:
                itself, mode = path.lstat().st_mode, path.stat().st_mode
            except OSError as error:
                what = "is a link to nothing" if path.is_symlink() else f"cannot be read ({error.strerror})"
                raise BundleError(path, what, "copy the whole bundle again") from error
            if stat.S_ISREG(mode):
                found[path.relative_to(folder).as_posix()] = path
            elif not stat.S_ISDIR(itself):
                raise BundleError(path, "is neither a plain file nor a folder (a link?)", "remove it")
    return found


def sha256(path: Path) -> str:
    """Hash a file, in hex; raises BundleError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(path, f"cannot be read ({error.strerror})", "copy it again") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that `path` holds the old content or the new, never a part.

    A link stays, and the plain file that it leads to is replaced. What is not a plain file (a device, a pipe,
    `/dev/stdout`) is written through: it is never replaced by a file, and a reader may see a part.

    Raises:
        OSError: The system refuses.
    """
    target = _replaceable(path)
    if target is not None:
        with scratch_path(target.parent, f".{target.name}") as scratch:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(target)
        return
    with _opened(path) as descriptor:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


@contextmanager
def plain_name(path: Path) -> Iterator[Path]:
    """Give a name for `path` that a C++ library takes: names that are not UTF-8 do not reach most of them.

    The other name goes through a link that is there for the time of the block.
    """
    if _is_utf8(str(path)):
        yield path
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="prunnet-name-") as scratch:
        link = Path(scratch) / "link"
        if _is_utf8(path.name):
            # To the folder: a model may have files beside it.
            link.symlink_to(path.absolute().parent)
            yield link / path.name
        else:
            link = link.with_suffix(path.suffix if _is_utf8(path.suffix) else "")
            link.symlink_to(path.absolute())
            yield link


def is_inside(name: str) -> bool:
    """Tell whether a path of a manifest is a normal relative POSIX path that stays below the bundle."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(name) & set("\\:\0")
        and path.as_posix() == name
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(error: OSError) -> NoReturn:
    raise BundleError(
        error.filename, f"cannot be read ({error.strerror})", "give yourself the right to read it"
    ) from error


def _replaceable(path: Path) -> Path | None:
    """Return the plain file, links followed, that `path` is or would become; None for whatever is written through."""
    if _DESCRIPTOR.fullmatch(str(path)):
        return None
    target = Path(os.path.realpath(path))
    try:
        return target if stat.S_ISREG(target.stat().st_mode) else None
    except FileNotFoundError:
        return target


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open what is not a plain file for writing; names of this process's own streams are those streams."""
    named = _DESCRIPTOR.fullmatch(str(path))
    if named:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        number = {"out": "1", "err": "2"}.get(named[2] or named[3] or "", named[1] or named[4])
        descriptor = os.dup(int(number))
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
