"""The files of a bundle: which there are, and their hashes."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath

from runtime_py.errors import BundleError

MANIFEST = "manifest.json"
UNFINISHED = ".prunnet-tmp-"
"""Part of the name of a folder that is being written; such a folder is never a bundle."""


def list_files(folder: Path) -> dict[str, Path]:
    """Find every file below `folder`, as relative POSIX path -> path.

    Raises:
        BundleError: A symbolic link, a device, a socket: anything that is not a plain file or folder.
    """
    found = {}
    for parent, folders, names in os.walk(folder, followlinks=False):
        for name in [*folders, *names]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found[path.relative_to(folder).as_posix()] = path
            elif not stat.S_ISDIR(mode):
                raise BundleError(path, "is neither a plain file nor a folder (a link?)", "remove it")
    return found


def sha256(path: Path) -> str:
    """Hash a file, in hex; raises BundleError if it can not be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(path, f"can not be read ({error.strerror})", "copy it again") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that `path` holds the old content or the new, never a part."""
    scratch = path.with_name(f".{path.name}{UNFINISHED}{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


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
