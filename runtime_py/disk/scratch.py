"""Temporary files and folders whose names say which process made them, so that none outlives its maker for long.

A name is `<start>.prunnet-tmp-<host>-<pid>-<token>`. The host is its name and a mark of this boot and of the space of
process ids: two containers of one name on a shared volume have different ones. What is made is also noted here, so that
a command that is stopped in the middle of its cleaning can finish it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

UNFINISHED = ".prunnet-tmp-"
"""Part of the name of whatever is being written; such a folder is never a bundle."""

_FOREIGN_SECONDS = 24 * 3600
"""Age at which something counts as left behind although its process cannot be asked for: one of an earlier boot, or of
another container of the same name. No export takes so long."""

_mine: set[Path] = set()


@contextmanager
def scratch_path(folder: Path, start: str) -> Iterator[Path]:
    """Give a path in `folder` that nothing has yet; what is there when the block ends is removed.

    What dead processes of this host left under the same `start` is removed first.
    """
    remove_stale(folder, start)
    path = folder / f"{start}{UNFINISHED}{host()}-{os.getpid()}-{os.urandom(4).hex()}"
    _mine.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _mine.discard(path)


@contextmanager
def workspace() -> Iterator[Path]:
    """Give a folder in which everything temporary of this process and of its children lands, and remove it.

    Converters leave files in the system's temporary folder, all the more when they are killed. For the time of
    the block that folder is this one, for every thread: it sets `TMPDIR` of the process. For commands only, never in a
    library's function.
    """
    import tempfile

    before, environment = tempfile.tempdir, os.environ.get("TMPDIR")
    with scratch_path(Path(tempfile.gettempdir()), "prunnet") as folder:
        folder.mkdir(mode=0o700)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            if environment is None:
                os.environ.pop("TMPDIR", None)
            else:
                os.environ["TMPDIR"] = environment


def remove_all() -> None:
    """Remove whatever this process has not removed yet: the last act of a command that was stopped."""
    for path in tuple(_mine):
        _remove(path)
    _mine.clear()


def remove_stale(folder: Path, start: str) -> None:
    """Remove what dead processes of this host left in `folder` under names that begin with `start`.

    What another boot or container of this host's name made goes when it has not changed for a day.
    """
    with suppress(OSError):  # a folder that cannot be listed: there is nothing that could be removed
        for path in tuple(folder.iterdir()):
            if path.name.startswith(start + UNFINISHED) and (is_stale(path.name) or _is_abandoned(path)):
                _remove(path)


def is_stale(name: str) -> bool:
    """Tell whether a name says that a process of this host made it which is no more."""
    here, pid = _owner(name)
    return here and not _alive(pid)


def is_owned_by_the_living(name: str) -> bool:
    """Tell whether a name says that a process of this host made it which still runs."""
    here, pid = _owner(name)
    return here and _alive(pid)


def is_unfinished(name: str) -> bool:
    """Tell whether a name is one of those that are given here."""
    return UNFINISHED in name


def host() -> str:
    """Return this host as it stands in a file name; where the system tells no boot apart, its name alone."""
    mark = _mark()
    return f"{_host_name()}.{mark}" if mark else _host_name()


def _host_name() -> str:
    import socket

    return socket.gethostname().replace("-", "_").replace("/", "_")


@cache
def _mark() -> str:
    """Return 8 hex digits for this boot and space of process ids; empty where there is no /proc."""
    import hashlib

    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return hashlib.sha256((boot + str(Path("/proc/self/ns/pid").readlink())).encode()).hexdigest()[:8]
    except OSError:
        return ""


def _owner(name: str) -> tuple[bool, str]:
    """Return whether this host made the name, since it booted; and the process id in it."""
    owner, rest = _parts(name)
    return owner == host(), rest.split("-")[0]


def _is_abandoned(path: Path) -> bool:
    owner, _ = _parts(path.name)
    foreign = owner is not None and owner != host() and _host_name() in (owner, owner.rpartition(".")[0])
    if not foreign:
        return False
    import time

    return time.time() - path.lstat().st_mtime > _FOREIGN_SECONDS


def _parts(name: str) -> tuple[str | None, str]:
    """Return the host in a name, None if there is none, and what follows it."""
    owner, separator, rest = name.partition(UNFINISHED)[2].partition("-")
    return owner if separator else None, rest


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil  # here, because every command passes through this module

        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's process: it lives
        return True
    return True
