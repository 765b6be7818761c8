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
_QUALITIES, _STEP = (90, 75, 60), 0.8
"""Of JPEG, the best that fits; if none does, the sides shrink by a step."""
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
    files = (encoded(pixels, number % 4 == 1, size) for number, pixels in enumerate(larger))
    return tuple(file for file in files if file is not None)


def encoded(pixels: Pixels, turned: bool, above: tuple[int, int]) -> bytes | None:
    """Return a picture as a JPEG file of at most `MOST_BYTES`, its colours at full resolution.

    Args:
        pixels: uint8 [H, W, 3].
        turned: Whether it is stored on its side.
        above: (height, width) in pixels; one side stays above it.

    Returns:
        None if so small a file does not hold a picture of that size.
    """
    from PIL import Image

    picture, exif = Image.fromarray(pixels), Image.Exif()
    if turned:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[_SIDE[0]] = _SIDE[1]
    stored_above = above if turned else above[::-1]
    while any(side > least for side, least in zip(picture.size, stored_above, strict=True)):
        for quality in _QUALITIES:
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=quality, subsampling=0, exif=exif)
            if content.tell() <= MOST_BYTES:
                return content.getvalue()
        width, height = (max(1, round(side * _STEP)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return None
