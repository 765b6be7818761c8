"""Picture files on disk: a list that reads itself, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from prunnet.errors import DatasetError
from runtime_py import picture_files as reader
from runtime_py.arrays import Pixels
from runtime_py.errors import PictureError
from runtime_py.picture_files import Box, Into, resize

__all__ = ["Box", "Into", "Pictures", "Pixels", "open_picture", "read_picture", "resize"]


@dataclass(frozen=True)
class Pictures:
    """Pictures below one folder; a million of them costs their names, nothing is opened before it is read.

    Attributes:
        root: The folder.
        names: Paths relative to it, with `/`.
        boxes: The part of each picture that counts; None is all of every picture.
    """

    root: Path
    names: tuple[str, ...]
    boxes: tuple[Box, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def some(self, numbers: Iterable[int]) -> Pictures:
        """Return some of them, in the order of their numbers here."""
        rows = [int(number) for number in numbers]
        boxes = None if self.boxes is None else tuple(self.boxes[row] for row in rows)
        return Pictures(self.root, tuple(self.names[row] for row in rows), boxes)

    def file(self, number: int) -> Path:
        """Return the path of one picture."""
        return self.root / self.names[number]

    def open(self, number: int) -> Pixels:
        """Read one picture, cropped to its box: uint8 [H, W, 3].

        Raises:
            DatasetError: Not a readable picture, or the box is outside of it.
        """
        return open_picture(self.file(number), self._box(number))

    def read(self, numbers: Iterable[int], into: Into) -> Pixels:
        """Read some pictures, resized: uint8 [N, height, width, 3].

        Raises:
            DatasetError: As `open`.
        """
        # Pillow decodes without holding the interpreter's lock, so threads share the work.
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(lambda number: self._read(int(number), into), numbers)))

    def batches(self, into: Into, count: int = 256) -> Iterator[Pixels]:
        """Read all pictures in order, `count` at a time: uint8 [<= count, height, width, 3].

        The next ones are read while the caller works on these: at most 2 `count` pictures are held.

        Raises:
            DatasetError: As `open`.
        """
        ahead: list[Future[Pixels]] = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self), count):
                numbers = range(start, min(start + count, len(self)))
                ready, ahead = ahead, [pool.submit(self._read, number, into) for number in numbers]
                if ready:
                    yield np.stack([picture.result() for picture in ready])
            yield np.stack([picture.result() for picture in ahead])

    def _read(self, number: int, into: Into) -> Pixels:
        return read_picture(self.file(number), into, self._box(number))

    def _box(self, number: int) -> Box | None:
        return None if self.boxes is None else self.boxes[number]

    def require(self, what: str) -> Pictures:
        """Return these pictures, all of them being there.

        Every folder is listed once, which a network disk answers sooner than a question for each file.

        Args:
            what: What the pictures are, for the error.

        Raises:
            DatasetError: A file is missing, or a name leaves the folder.
        """
        listed: dict[str, set[str]] = {}
        missing = []
        for name in self.names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise DatasetError(
                    f"the {what} picture {name!r} is outside of {self.root}; the list is damaged"
                )
            folder = str(path.parent)
            if folder not in listed:
                there = self.root / folder
                listed[folder] = {entry.name for entry in there.iterdir()} if there.is_dir() else set()
            if path.name not in listed[folder]:
                missing.append(name)
        if missing:
            named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise DatasetError(
                f"{len(missing)} of {len(self)} {what} pictures are missing below {self.root}: {named}; "
                "unpack the whole archive there"
            )
        return self


def open_picture(file: Path, box: Box | None = None) -> Pixels:
    """Read a picture as `runtime_py.picture_files.open_picture` does: uint8 [H, W, 3], RGB.

    Raises:
        DatasetError: Not a readable picture, or the box is outside of it.
    """
    with _as_data():
        return reader.open_picture(file, box)


def read_picture(file: Path, into: Into, box: Box | None = None) -> Pixels:
    """Read a picture and resize what the box keeps of it: uint8 [height, width, 3], RGB.

    Raises:
        DatasetError: As `open_picture`.
    """
    with _as_data():
        return reader.read_picture(file, into, box)


@contextmanager
def _as_data() -> Iterator[None]:
    try:
        yield
    except PictureError as error:
        raise DatasetError(str(error)) from error
