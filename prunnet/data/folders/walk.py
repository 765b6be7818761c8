"""Walking a tree of pictures: which file belongs to which class, and what belongs to none."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from prunnet.errors import DatasetError

_SYSTEM = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
"""Folders that other programs leave behind; they are no classes."""
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class LeftOut:
    """Something in the tree that is not used.

    Attributes:
        name: Path relative to the tree.
        kind: Why, in a word or two that many files share.
        problem: What is wrong with this one; may be empty.
    """

    name: str
    kind: str
    problem: str = ""


@dataclass
class Walk:
    """What a tree `FOLDER/CLASS/**` holds; nothing is opened.

    Attributes:
        classes: Names of the class folders, in their order.
        names: Files in class folders, relative to the tree, with `/`; by class, then by name.
        labels: The class number of each.
        sizes: Bytes of each.
        left_out: Files and folders that are in no class.
    """

    classes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def nested(self) -> int:
        """Files that lie deeper than `CLASS/FILE`."""
        return sum(name.count("/") > 1 for name in self.names)


def walk(folder: Path) -> Walk:
    """List the files below each class folder, links followed, however deep they lie.

    Raises:
        DatasetError: No such folder, no class folder in it, or a folder cannot be listed.
    """
    top = _status(folder)
    if not stat.S_ISDIR(top.st_mode):
        raise DatasetError(f"{folder} is not a folder; pictures are expected in {folder}/CLASS/*.jpg")
    found = Walk()
    for entry in _entries(folder):
        about = _about(entry)
        if _hidden(entry.name):
            found.left_out.append(LeftOut(entry.name, "hidden"))
        elif isinstance(about, LeftOut):
            found.left_out.append(about)
        elif stat.S_ISDIR(about.st_mode):
            number = len(found.classes)
            found.classes.append(entry.name)
            files: list[tuple[str, int]] = []
            _descend(folder, entry.name, (_identity(top), _identity(about)), files, found)
            for name, size in sorted(files):
                found.names.append(name)
                found.labels.append(number)
                found.sizes.append(size)
        else:
            found.left_out.append(LeftOut(entry.name, "in no class folder"))
    if not found.classes:
        raise DatasetError(f"{folder} holds no class folder; pictures are expected in {folder}/CLASS/*.jpg")
    return found


def _descend(
    root: Path, below: str, above: tuple[tuple[int, int], ...], files: list[tuple[str, int]], found: Walk
) -> None:
    for entry in _entries(root / below):
        name = f"{below}/{entry.name}"
        about = _about(entry)
        if _hidden(entry.name):
            found.left_out.append(LeftOut(name, "hidden"))
        elif isinstance(about, LeftOut):
            found.left_out.append(replace(about, name=name))
        elif stat.S_ISDIR(about.st_mode):
            here = _identity(about)
            if here in above:
                found.left_out.append(LeftOut(name, "a link in a circle"))
            else:
                _descend(root, name, (*above, here), files, found)
        elif stat.S_ISREG(about.st_mode):
            files.append((name, about.st_size))
        else:
            found.left_out.append(LeftOut(name, "not a file"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unseen(folder, error) from error


def _about(entry: os.DirEntry[str]) -> os.stat_result | LeftOut:
    """Return what the system says of an entry, links followed; or why nothing can be said."""
    try:
        return entry.stat()
    except FileNotFoundError:  # a link to nothing, or a file that somebody just removed
        return LeftOut(entry.name, "a broken link" if entry.is_symlink() else "vanished")
    except OSError as error:
        circle = error.errno == errno.ELOOP
        kind = "a link in a circle" if circle else "cannot be looked at"
        return LeftOut(entry.name, kind, "" if circle else str(error.strerror))


def _status(folder: Path) -> os.stat_result:
    try:
        return folder.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(f"{folder} is missing; pictures are expected in {folder}/CLASS/*.jpg") from error
    except OSError as error:
        raise _unseen(folder, error) from error


def _unseen(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{folder} cannot be looked into: {error.strerror}; make it readable, or remove it")


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM or name.lower() in _SYSTEM_FILES
