"""How a picture becomes the input of an artifact: what the app does before it, and what is inside."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from runtime_py.framing import Framing

LEAST_SPREAD = 1e-6
"""Of a standard deviation of pixels 0..255; what is far below has no inverse in float32."""


def _divides(value: float) -> float:
    if value < LEAST_SPREAD:
        raise ValueError(f"divides by zero; allowed: numbers of at least {LEAST_SPREAD:g}")
    return value


Spread = Annotated[float, AfterValidator(_divides)]


class Preprocessing(Framing):
    """How a photo becomes the encoder's input. The caller decodes, turns and resizes (docs/reference/pictures.md); a
    bundle with `resize_inside` resizes by itself. The artifact normalises."""

    orientation: Literal["exif"] = "exif"
    """The picture is turned as its EXIF asks, before anything else."""
    color: Literal["RGB"] = "RGB"
    """Order of the channels."""
    color_space: Literal["as stored"] = "as stored"
    """Values count as sRGB, whatever colour profile the file carries: none is applied."""
    transparent: Literal["on white"] = "on white"
    """What lies behind transparent pixels."""
    mean: tuple[float, float, float]
    """Per-channel mean on the 0..255 scale; applied inside the artifact."""
    std: tuple[Spread, Spread, Spread]
    """Per-channel standard deviation on the 0..255 scale; applied inside the artifact."""
