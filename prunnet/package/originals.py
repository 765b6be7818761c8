"""Test pictures in their original size, as small files: what a bundle's check of decoding and resizing starts from."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np

from runtime_py.arrays import Pixels

COUNT = 8
"""Kept of a package."""
MOST_BYTES = 2**16
"""Of each; one that needs more is made smaller."""
_QUALITY, _STEP = 90, 0.8
_SIDE = 0x0112, 6
"""EXIF: stored a quarter turn to the left."""


def original_files(
    open_original: Callable[[int], Pixels] | None, numbers: Sequence[int], size: tuple[int, int]
) -> tuple[bytes, ...]:
    """Return some pictures as JPEG files, every fourth stored on its side; those no larger than the input are left out.

    Args:
        open_original: Opens a picture by its number, uint8 [H, W, 3]; None: nothing larger is known.
        numbers: Which there are; `COUNT` of them are taken, evenly spread.
        size: (height, width) of the encoder's input, pixels.

    Raises:
        DatasetError: A picture is not readable.
    """
    if open_original is None:
        return ()
    taken = np.unique(np.linspace(0, len(numbers) - 1, COUNT).round().astype(int))
    pictures = [open_original(int(numbers[at])) for at in taken]
    larger = [pixels for pixels in pictures if pixels.shape[0] > size[0] or pixels.shape[1] > size[1]]
    return tuple(encoded(pixels, turned=number % 4 == 1) for number, pixels in enumerate(larger))


def encoded(pixels: Pixels, turned: bool) -> bytes:
    """Return uint8 [H, W, 3] as a JPEG file of at most `MOST_BYTES`, its colours at full resolution."""
    from PIL import Image

    picture, exif = Image.fromarray(pixels), Image.Exif()
    if turned:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[_SIDE[0]] = _SIDE[1]
    while True:
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=_QUALITY, subsampling=0, exif=exif)
        if content.tell() <= MOST_BYTES or max(picture.size) <= 1:
            return content.getvalue()
        width, height = (max(1, round(side * _STEP)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
