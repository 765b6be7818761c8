"""The one resize: of training, probes, evaluation and queries. `runtime_py.framing` states what it does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime_py.arrays import Doubles, Pixels
from runtime_py.errors import PictureError
from runtime_py.framing import Framing, Into, Resize
from runtime_py.picture_files.opening import LARGEST, pillow

if TYPE_CHECKING:
    from PIL import Image


def resize(pixels: Pixels, into: Into) -> Pixels:
    """Bring uint8 [H, W, 3] to an input: uint8 [height, width, 3].

    Args:
        pixels: RGB, upright.
        into: The framing; (height, width) alone is stretched to.

    Raises:
        MissingExtraError: Pillow is not installed.
        PictureError: A strip too narrow to be cropped.
    """
    return resized(pillow().fromarray(pixels), into)


def resized(picture: Image.Image, into: Into, name: Path = Path("the picture")) -> Pixels:
    """Do the same with an image of Pillow's in mode RGB; `name` is for errors.

    Raises:
        PictureError: A strip so narrow that to be cropped it would have to be made larger than a picture may be.
    """
    framing = Framing.of(into)
    rule, (height, width) = framing.resize, framing.size
    across = placed(picture.size[::-1], framing)
    if max(picture.height, across[0]) * across[1] > LARGEST:
        raise PictureError(
            name,
            "too narrow",
            f"{picture.width:,} x {picture.height:,} would become {across[1]:,} x {across[0]:,} pixels before it is "
            "cropped",
        )
    scaled = _scaled(picture, across, rule)
    if across == (height, width):
        return scaled
    top, left = _half(height - across[0]), _half(width - across[1])
    if rule.fit == "crop":
        return scaled[-top : height - top, -left : width - left]
    whole = np.empty((height, width, 3), np.uint8)
    whole[:] = rule.fill
    whole[top : top + across[0], left : left + across[1]] = scaled
    return whole


def placed(stored: tuple[int, int], framing: Framing) -> tuple[int, int]:
    """Return the (height, width) to which a whole picture is resized, before it is cropped or put on a border.

    `crop` is what torchvision's Resize and CenterCrop do (and timm's evaluation), `letterbox` what Pillow's
    `ImageOps.pad` does, to the last pixel.

    >>> from runtime_py.framing import Resize
    >>> placed((480, 640), Framing(height=224, width=224, resize=Resize(fit="crop", scale=0.875)))
    (256, 341)
    >>> placed((480, 640), Framing(height=224, width=224, resize=Resize(fit="letterbox")))
    (168, 224)

    Args:
        stored: (height, width) of the picture, pixels.
        framing: What it is brought to.
    """
    (h, w), (height, width), rule = stored, framing.size, framing.resize
    if rule.fit == "stretch":
        return height, width
    if rule.fit == "crop":
        height, width = math.floor(height / rule.scale), math.floor(width / rule.scale)
        if height * w >= width * h:
            return height, max(width, int(height * w / h))
        return max(height, int(width * h / w)), width
    if w / h > width / height:
        return max(1, round(h / w * width)), width
    return height, max(1, round(w / h * height))


def _half(border: int) -> int:
    """Return a half, rounded to even: the place of a centred picture (negative: of a centred crop)."""
    return round(border / 2)


def _scaled(picture: Image.Image, size: tuple[int, int], rule: Resize) -> Pixels:
    if not rule.antialias:
        return _of_nearest(np.asarray(picture), size, rule.filter)
    kind = pillow().Resampling
    kernel = kind.BILINEAR if rule.filter == "bilinear" else kind.BICUBIC
    # Columns first, in a call of its own: Pillow 13 otherwise begins with the rows where they shrink more, and what is
    # rounded in between is then another picture (20 levels in places).
    return np.asarray(picture.resize((size[1], picture.height), kernel).resize(size[::-1], kernel))


def _of_nearest(pixels: Pixels, size: tuple[int, int], kernel: str) -> Pixels:
    """Interpolate between the nearest pixels alone: half-pixel centres, double precision, borders repeated."""
    down, across = (
        _weights(stored, wanted, kernel) for stored, wanted in zip(pixels.shape, size, strict=False)
    )
    values = np.einsum("ih,hwc->iwc", down, pixels.astype(np.float64), optimize=True)
    values = np.einsum("jw,iwc->ijc", across, values, optimize=True)
    rounded: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded


def _weights(stored: int, wanted: int, kernel: str) -> Doubles:
    """Return what each stored row gives to each wanted one: float64 [wanted, stored], rows sum to 1."""
    centre = (np.arange(wanted) + 0.5) * stored / wanted - 0.5
    first = np.floor(centre).astype(np.int64)
    weights = np.zeros((wanted, stored))
    for step in range(2) if kernel == "bilinear" else range(-1, 3):
        away = np.abs(centre - (first + step))
        share = 1 - away if kernel == "bilinear" else _cubic(away)
        np.add.at(weights, (np.arange(wanted), (first + step).clip(0, stored - 1)), share)
    return weights


def _cubic(away: Doubles) -> Doubles:
    """Keys' cubic with a = -0.5 at distances below 2."""
    near = (1.5 * away - 2.5) * away * away + 1
    return np.where(away < 1, near, ((-0.5 * away + 2.5) * away - 4) * away + 2)
