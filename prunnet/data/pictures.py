"""Picture files on disk: a list that reads itself, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from prunnet.errors import DatasetError

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width), pixels."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the stored picture; right and bottom are outside."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


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

    def file(self, number: int) -> Path:
        """Return the path of one picture."""
        return self.root / self.names[number]

    def open(self, number: int) -> Pixels:
        """Read one picture, cropped to its box: uint8 [H, W, 3].

        Raises:
            DatasetError: Not a readable picture, or the box is outside of it.
        """
        return open_picture(self.file(number), self._box(number))

    def read(self, numbers: Iterable[int], size: Size) -> Pixels:
        """Read some pictures, resized: uint8 [N, height, width, 3].

        Raises:
            DatasetError: As `open`.
        """
        # Pillow decodes without holding the interpreter's lock, so threads share the work.
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(lambda number: self._read(int(number), size), numbers)))

    def batches(self, size: Size, count: int = 256) -> Iterator[Pixels]:
        """Read all pictures in order, `count` at a time: uint8 [<= count, height, width, 3].

        The next ones are read while the caller works on these: at most 2 `count` pictures are held.

        Raises:
            DatasetError: As `open`.
        """
        ahead: list[Future[Pixels]] = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self), count):
                numbers = range(start, min(start + count, len(self)))
                ready, ahead = ahead, [pool.submit(self._read, number, size) for number in numbers]
                if ready:
                    yield np.stack([picture.result() for picture in ready])
            yield np.stack([picture.result() for picture in ahead])

    def _read(self, number: int, size: Size) -> Pixels:
        return read_picture(self.file(number), size, self._box(number))

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
    """Read a picture, upright, as uint8 [H, W, 3], RGB.

    Args:
        file: The picture.
        box: What to keep, in the pixels as they are stored, before they are turned upright.

    Raises:
        DatasetError: Not a readable picture, or the box is outside of it.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            part: Image.Image = picture
            if box is not None:
                left, top = max(0, round(box[0])), max(0, round(box[1]))
                right, bottom = min(picture.width, round(box[2])), min(picture.height, round(box[3]))
                if left >= right or top >= bottom:
                    raise DatasetError(
                        f"the box {box} keeps nothing of {file}, which is {picture.width} x {picture.height}; "
                        "the picture is not the one of the official archive"
                    )
                part = picture.crop((left, top, right, bottom))
            return np.asarray(ImageOps.exif_transpose(part).convert("RGB"))
    except DatasetError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{file} is not a readable picture: {error}; replace or remove it") from error


def read_picture(file: Path, size: Size, box: Box | None = None) -> Pixels:
    """Read a picture, upright, and resize what the box keeps of it (bilinear): uint8 [height, width, 3], RGB.

    Raises:
        DatasetError: As `open_picture`.
    """
    return resize(open_picture(file, box), size)


def resize(pixels: Pixels, size: Size) -> Pixels:
    """Resize uint8 [H, W, 3] to `size` (bilinear), without regard to its aspect."""
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
