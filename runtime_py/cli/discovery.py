"""Finds the bundles below folders. Whatever looks like a bundle, or cannot be looked at, is found."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from runtime_py.disk.files import MANIFEST
from runtime_py.disk.scratch import is_owned_by_the_living, is_unfinished
from runtime_py.errors import BundleError

PROBES = "probes.npz"
ENCODER = "encoder.json"
"""A folder with this file is an encoder package, which has probes too."""

PACKAGE = ".mlpackage"
"""Of the one artifact that is a folder."""
SUFFIXES = (PACKAGE, ".onnx", ".pte", ".tflite")

_Key = tuple[int, int]


def find_bundles(
    paths: Iterable[str | Path], apart: str | Path | None = None
) -> tuple[Path | BundleError, ...]:
    """Find the bundles at or below each path, in order, each once; links to folders are followed.

    Args:
        paths: Bundles, or folders of bundles.
        apart: A file or folder below them that is not a bundle's: the server's model.

    Returns:
        The folder of each bundle. An error takes the place of what is not a bundle and should be: a folder with
        an artifact or probes and no manifest, an export that was not finished and that nobody is writing any
        more, a folder that cannot be read, a link that leads nowhere; and a given path without a bundle.
    """
    found: list[Path | BundleError] = []
    apart_key = None if apart is None else _key(Path(apart))
    seen: set[_Key] = set() if apart_key is None else {apart_key}
    for path in map(Path, paths):
        known = _key(path) in seen
        below = list(_below(path, seen, apart_key))
        if not below and not known:
            remedy = "export one"
            below = [BundleError(path, f"holds no bundle (no {MANIFEST} in it or below)", remedy)]
        found += below
    return tuple(found)


def _below(top: Path, seen: set[_Key], apart: _Key | None) -> Iterator[Path | BundleError]:
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            about = path.stat()
            if not stat.S_ISDIR(about.st_mode):
                yield BundleError(path, "is not a folder, so it is not a bundle", "give a bundle")
                continue
            key = (about.st_dev, about.st_ino)
            if key in seen:
                continue
            seen.add(key)
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            yield _unseen(path, error)
            continue
        names = [entry.name for entry in entries]
        if MANIFEST in names:  # a bundle holds no bundles
            yield path
        elif ENCODER not in names:
            signs = [name for name in names if _is_sign(path / name, apart)]
            if signs:
                problem = f"has no {MANIFEST} beside {', '.join(signs)}"
                yield BundleError(
                    path, problem, "copy the whole bundle again; if it is none, keep these files elsewhere"
                )
            folders, errors = _inside(entries)
            yield from errors
            waiting += reversed(folders)


def _inside(entries: Iterable[os.DirEntry[str]]) -> tuple[list[Path], list[BundleError]]:
    """Return the folders to look into, and what speaks against the others."""
    folders: list[Path] = []
    errors: list[BundleError] = []
    for entry in entries:
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                path.stat()  # raises where it leads nowhere
            if not entry.is_dir() or path.suffix == PACKAGE:
                continue
        except OSError as error:
            errors.append(_unseen(path, error))
            continue
        if not is_unfinished(entry.name):
            folders.append(path)
        elif not is_owned_by_the_living(entry.name):
            errors.append(
                BundleError(path, "is an export that was not finished", "remove it and export again")
            )
    return folders, errors


def _unseen(path: Path, error: OSError) -> BundleError:
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return BundleError(path, "is a link to nothing", "remove it, or bring back what it led to")
        return BundleError(path, "does not exist", "give a bundle")
    return BundleError(path, f"cannot be looked at ({error.strerror})", "give yourself the right to read it")


def _is_sign(path: Path, apart: _Key | None) -> bool:
    """Tell whether it belongs into a bundle: its name says so, and it is no folder where a file must be."""
    named = path.name == PROBES or path.suffix in SUFFIXES
    return named and (path.suffix == PACKAGE or not path.is_dir()) and (apart is None or _key(path) != apart)


def _key(path: Path) -> _Key | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
