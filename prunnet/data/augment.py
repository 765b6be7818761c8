"""What training does to each picture before it is learned from: crop, mirror, colour, blur."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator

from prunnet.yaml.numbers import Flag, PositiveShare, Share
from runtime_py.arrays import Pixels
from runtime_py.picture_files import Into, resize
from runtime_py.record import Record

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Luminance of RGB, ITU-R BT.601."""


class Augment(Record):
    """Random changes of training pictures (`data.augment` of a recipe). Test pictures and probes are never changed."""

    crop: tuple[PositiveShare, PositiveShare] = (0.35, 1.0)
    """Least and largest share of a picture's area that a crop keeps; [1, 1] always keeps the whole picture."""
    mirror: Flag = True
    """Mirrors half of the pictures, left to right. Set it to false for text, signs and maps."""
    colour: Share = 0.0
    """Brightness, contrast and saturation are each multiplied by a factor in 1 - colour .. 1 + colour."""
    blur: float = Field(default=0.0, strict=True, ge=0, le=20)
    """Largest standard deviation of a Gaussian blur, in pixels of the encoder's input; it is drawn in 0 .. blur."""

    @field_validator("crop")
    @classmethod
    def _in_order(cls, crop: tuple[float, float]) -> tuple[float, float]:
        if crop[0] > crop[1]:
            raise ValueError("the least share comes first; allowed: [least, largest], both in (0, 1]")
        return crop

    def draws(self, count: int, generator: torch.Generator) -> npt.NDArray[np.float64]:
        """Draw the random numbers of some pictures: float64 [count, 8] in 0..1.

        The crop's and the mirror's come first, so that colour and blur change none of them.
        """
        # One call for each picture: torch fills a longer request in another order.
        first = [torch.rand(4, generator=generator) for _ in range(count)]
        more = (
            torch.rand(count, 4, generator=generator) if self.colour or self.blur else torch.zeros(count, 4)
        )
        return torch.cat([torch.stack(first), more], dim=1).double().numpy()

    def apply(self, pixels: Pixels, into: Into, draw: npt.NDArray[np.float64]) -> Pixels:
        """Change one picture.

        Args:
            pixels: uint8 [H, W, 3].
            into: The encoder's framing, or (height, width) to stretch to. It is applied to the crop, which has the
                aspect of the picture.
            draw: float64 [8] in 0..1; one row of `draws`.

        Returns:
            uint8 [height, width, 3].
        """
        area, x, y, flip, *more = draw.tolist()
        least, largest = self.crop
        share = (least + (largest - least) * area) ** 0.5
        height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
        top, left = round(y * (pixels.shape[0] - height)), round(x * (pixels.shape[1] - width))
        crop = resize(pixels[top : top + height, left : left + width], into)
        if self.colour:
            crop = _recoloured(crop, *(1 + self.colour * (2 * each - 1) for each in more[:3]))
        if self.blur:
            crop = _blurred(crop, self.blur * more[3])
        return crop[:, ::-1] if self.mirror and flip < 0.5 else crop


def _recoloured(pixels: Pixels, brightness: float, contrast: float, saturation: float) -> Pixels:
    """Multiply the brightness, the distance from the mean grey, and the distance of each pixel from its own grey."""
    values = pixels.astype(np.float32) * brightness
    mean = float((values @ _GREY).mean())
    values = mean + contrast * (values - mean)
    grey = (values @ _GREY)[:, :, None]
    return (grey + saturation * (values - grey)).round().clip(0, 255).astype(np.uint8)


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))
