"""What becomes of each of Pillow's modes: RGB of 8 bits, or a refusal. The table is in docs/reference/pictures.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

BACKGROUND = (255, 255, 255)
"""RGB behind transparent pictures."""

_PLAIN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes whose conversion by Pillow is the right one."""
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_WORDS = ("I;16", "I;16L", "I;16B", "I;16N")
_FULL_RANGE = ("PNG", "PPM")
"""Formats that give a 16-bit picture the mode I."""
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
"""Tags of TIFF."""
_SIGNED = 2


def rgb(picture: Image.Image, raw: str = "") -> Image.Image:
    """Return a loaded picture as Pillow's RGB.

    Transparent pictures are composed on `BACKGROUND`. Values of 16 bits become round(v * 255 / 65535), floats in
    0..1 round(255 * v).

    Args:
        picture: In any of Pillow's modes, its pixels loaded.
        raw: How its file stores a pixel (Pillow's raw mode), where that is known: a transparent colour counts in it.

    Raises:
        ValueError: The mode says neither a range nor colours; says what to save it as.
    """
    mode = picture.mode
    tags = getattr(picture, "tag_v2", {})
    if mode in _WORDS or (mode == "I" and picture.format in _FULL_RANGE):
        return _words(picture, tags)
    if mode == "F":
        return _floats(picture, tags)
    if mode in _ALPHA:
        return _composed(picture)
    if mode not in _PLAIN:
        raise ValueError(
            "whole numbers of 32 bits (mode I) have no stated range; save it with 8 or 16 bits"
            if mode == "I"
            else f"Pillow's mode {mode!r} is not read; save it as RGB"
        )
    if mode == "L" and _first(tags.get(_SAMPLE_FORMAT)) == _SIGNED:
        raise ValueError("its numbers are signed, which no picture is; save it with 8 unsigned bits")
    key = picture.info.get("transparency")
    if key is not None and mode in ("1", "L", "RGB"):
        return _without_key(picture, key, raw)
    if mode == "P" and (key is not None or (picture.palette is not None and "A" in picture.palette.mode)):
        return _composed(picture)
    return picture if mode == "RGB" else picture.convert("RGB")


def _composed(picture: Image.Image) -> Image.Image:
    from PIL import Image

    # Pillow has no direct way from premultiplied grey to colours.
    straight = picture.convert("LA") if picture.mode == "La" else picture
    coloured = straight.convert("RGBA")
    alpha = coloured.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return coloured.convert("RGB")
    canvas = Image.new("RGB", picture.size, BACKGROUND)
    canvas.paste(coloured, mask=alpha)
    return canvas


def _without_key(picture: Image.Image, key: Any, raw: str) -> Image.Image:
    """Put `BACKGROUND` where a picture has the one colour that PNG's tRNS chunk calls transparent."""
    pixels = np.array(picture.convert("RGB"))
    if picture.mode == "RGB":
        # Pillow keeps the high byte of 16-bit colours, and the key whole.
        wanted = [value >> 8 for value in key] if ";16" in raw else list(key)
    else:
        # Greys of 2 and 4 bits are spread over 0..255, the key is not.
        wanted = [int(key) * {"L;2": 85, "L;4": 17}.get(raw, 1)] * 3
    pixels[(pixels == np.array(wanted)).all(axis=2)] = BACKGROUND
    return _of(pixels)


def _words(picture: Image.Image, tags: Any) -> Image.Image:
    """Scale 16 bits (12 where a TIFF says so) to 8."""
    values = np.asarray(picture).astype(np.uint32)
    key = picture.info.get("transparency")
    most = 4095 if _first(tags.get(_BITS)) == 12 else 65535
    # Rounded in whole numbers: v * 255 / most + 1/2.
    grey = ((values * 510 + most) // (2 * most)).clip(max=255).astype(np.uint8)
    if _first(tags.get(_PHOTOMETRIC)) == 0:
        grey = 255 - grey
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    if isinstance(key, int):
        pixels[values == key] = BACKGROUND
    return _of(pixels)


def _floats(picture: Image.Image, tags: Any) -> Image.Image:
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"its floats reach from {low:g} to {high:g}, and only 0..1 has a stated meaning; scale it, or save it "
            "with 8 or 16 bits"
        )
    grey = np.rint(values * 255).astype(np.uint8)
    if _first(tags.get(_PHOTOMETRIC)) == 0:
        grey = 255 - grey
    return _of(np.repeat(grey[:, :, None], 3, axis=2))


def _of(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value
