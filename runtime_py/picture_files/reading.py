"""Reading a picture: decoded, upright, in RGB, and resized to an encoder's input."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime_py.arrays import Pixels
from runtime_py.errors import PictureError
from runtime_py.framing import Into
from runtime_py.picture_files.modes import rgb
from runtime_py.picture_files.opening import LARGEST, check_size, opened, pillow, reduction, said
from runtime_py.picture_files.resizing import resized
from runtime_py.picture_files.rows import require_all_rows

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the stored picture; right and bottom are outside."""

_ORIENTATION = 0x0112
_ONE_AT_A_TIME = 24_000_000
"""Pixels from which pictures are decoded one at a time, so that many threads do not fill the memory."""
_large = threading.Lock()


def _after_fork() -> None:
    """In a forked process nobody is left who would give the lock back."""
    global _large
    _large = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_picture(file: str | Path, box: Box | None = None) -> Pixels:
    """Read a picture, upright, as uint8 [H, W, 3], RGB.

    Of files with several frames or pages the first counts. Colour profiles are not applied. A JPEG of more than
    89 megapixels is decoded at a half, a quarter or an eighth of its size.

    Args:
        file: The picture.
        box: What to keep, in the pixels as they are stored, before they are turned upright.

    Raises:
        PictureError: Not a readable picture, too large, of a mode without a stated meaning, or the box is outside.
        MissingExtraError: Pillow is not installed.
    """
    return np.asarray(_decoded(Path(file), box))


def read_picture(file: str | Path, into: Into | None, box: Box | None = None) -> Pixels:
    """Read a picture, upright, and resize what the box keeps of it: uint8 [height, width, 3], RGB.

    Args:
        file: The picture.
        into: The manifest's `preprocessing`, or any framing; (height, width) alone is stretched to (bilinear); None
            keeps the picture's own size.
        box: As `open_picture`.

    Raises:
        PictureError: As `open_picture`.
        MissingExtraError: As `open_picture`.
    """
    return _brought(_decoded(Path(file), box), into, Path(file))


def _brought(picture: Image.Image, into: Into | None, name: Path) -> Pixels:
    return np.asarray(picture) if into is None else resized(picture, into, name)


def read_image(picture: Image.Image, into: Into | None) -> Pixels:
    """Bring an image of Pillow's to uint8 [height, width, 3], RGB.

    One that was opened from a path and not decoded yet is read as `read_picture` reads its file. What is decoded, or
    comes from a stream, no longer tells how its file stored it: it is taken in the modes that leave no doubt. So is
    every frame but the first of a file of several.

    Args:
        picture: Of a file; or of mode RGB or L, without a transparent colour. EXIF that it has turns it upright.
        into: As `read_picture`.

    Raises:
        TypeError: It is not an image of Pillow's.
        PictureError: As `open_picture`; or it is decoded and of another mode.
    """
    if not isinstance(picture, pillow().Image):
        raise TypeError(
            f"a {type(picture).__name__} is not a picture: give the path of a file, or an image of Pillow's "
            "(PIL.Image.fromarray makes one of an RGB array)"
        )
    stored = getattr(picture, "filename", "")
    if stored and getattr(picture, "tile", None) and picture.tell() == 0 and Path(stored).is_file():
        return read_picture(stored, into)
    name = Path(stored or "the given image")
    with said(name):
        check_size(name, picture)
        picture.load()
        if picture.mode not in ("RGB", "L") or "transparency" in picture.info:
            raise PictureError(
                name,
                "decoded",
                f"in memory the modes RGB and L are read, without transparency, and this is {picture.mode}; "
                "give the path of its file, or convert it to RGB as it is to be seen",
            )
        return _brought(_upright(name, picture, "", None), into, name)


def thumbnail(file: str | Path, size: tuple[int, int]) -> Pixels:
    """Read a picture for a look at it only: as `read_picture`, but a JPEG is decoded no larger than needed.

    Raises:
        PictureError: As `open_picture`.
        MissingExtraError: As `open_picture`.
    """
    return resized(_decoded(Path(file), None, least=size), size, Path(file))


def _decoded(file: Path, box: Box | None, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode a picture; `least` is the smallest size at which a JPEG may be decoded, None: its own."""
    with opened(file) as picture:
        if least is not None:
            picture.draft(None, (2 * least[1], 2 * least[0]))
        with _large if picture.width * picture.height > _ONE_AT_A_TIME else nullcontext():
            return _load(file, picture, box)


def _load(file: Path, picture: Image.Image, box: Box | None) -> Image.Image:
    scale = reduction(picture)
    if scale > 1:
        if box is not None:
            raise PictureError(file, "too large", f"more than {LARGEST:,} pixels are not read with a box")
        picture.draft(None, (picture.width // scale, picture.height // scale))
    raw = _raw_mode(picture)
    turned = _turn(picture) if picture.format == "TIFF" else None  # Pillow turns it while it loads
    picture.load()
    require_all_rows(file, picture)
    return _upright(file, picture, raw, box, turned)


def _upright(
    file: Path, picture: Image.Image, raw: str, box: Box | None, turned: Image.Transpose | None = None
) -> Image.Image:
    """Return what the box keeps, upright; `turned` is what Pillow has done to all of it already."""
    coloured, turn = rgb(picture, raw), _turn(picture)
    if box is None:
        return coloured if turn is None else coloured.transpose(turn)
    if turned is not None:  # the box is of the picture as it is stored
        coloured, turn = coloured.transpose(_opposite(turned)), turned
    kept = coloured.crop(_inside(file, coloured, box))
    return kept if turn is None else kept.transpose(turn)


def _opposite(turn: Image.Transpose) -> Image.Transpose:
    """Return the turn that takes another one back."""
    from PIL.Image import Transpose

    quarters = {Transpose.ROTATE_90: Transpose.ROTATE_270, Transpose.ROTATE_270: Transpose.ROTATE_90}
    return quarters.get(turn, turn)


def _raw_mode(picture: Image.Image) -> str:
    """Return how a file stores its pixels; what Pillow's tiles say, which only some formats have."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _inside(file: Path, picture: Image.Image, box: Box) -> tuple[int, int, int, int]:
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(picture.width, round(box[2])), min(picture.height, round(box[3]))
    if left >= right or top >= bottom:
        raise PictureError(
            file,
            "box",
            f"the box {box} keeps nothing of {file}, which is {picture.width} x {picture.height}; it is not the "
            "picture on which the box was drawn",
        )
    return left, top, right, bottom


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return the turn that EXIF asks for; a damaged EXIF asks for none."""
    from PIL.Image import Transpose

    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except TimeoutError:  # of an alarm of the caller's
        raise
    # Pillow documents no closed list of what a damaged EXIF raises. Viewers show such a picture as it is stored.
    except Exception:
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None
