"""What becomes of a picture before the encoder sees it: stated exactly, because it is part of the embedding space.

`runtime_py.picture_files` does what is stated here; docs/reference/pictures.md says it in words and formulas.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from runtime_py.record import Record


def _of_json(stated: object) -> object:
    """JSON knows no tuples, and pydantic no longer knows that it reads JSON below a `BeforeValidator`."""
    return tuple(stated) if isinstance(stated, list) else stated


Level = Annotated[int, Field(strict=True, ge=0, le=255)]
Colour = Annotated[tuple[Level, Level, Level], BeforeValidator(_of_json)]
"""RGB."""


class Resize(Record):
    """How a picture is brought to the input's size. The default is Pillow's `BILINEAR`, columns first."""

    filter: Literal["bilinear", "bicubic"] = "bilinear"
    """`bilinear`: a triangle. `bicubic`: Keys' cubic with a = -0.5, as in Pillow."""
    antialias: bool = Field(default=True, strict=True)
    """Whether the filter widens with the reduction, and values round to 8 bits after each axis, as in Pillow. If not,
    two neighbours along each axis count (`bicubic`: four), and values round once, half to even."""
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    """`stretch`: without regard to the aspect. `crop`: covers a larger size, and its centre is kept. `letterbox`: the
    whole picture, centred on `fill`."""
    scale: float = Field(default=1.0, strict=True, ge=0.1, le=1)
    """Of `crop`: what is kept of the length that the shorter side is resized to; 0.875 is 224 of 256."""
    fill: Colour = (0, 0, 0)
    """Of `letterbox`: RGB of the border."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        wrong = []
        if self.scale != 1 and self.fit != "crop":
            wrong.append(f"scale goes with fit: crop, and fit is {self.fit}")
        if self.fill != (0, 0, 0) and self.fit != "letterbox":
            wrong.append(f"fill goes with fit: letterbox, and fit is {self.fit}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def __str__(self) -> str:
        kernel = f"{self.filter}{', antialiased' if self.antialias else ' of the nearest pixels'}"
        ways = {
            "stretch": "stretched",
            "crop": f"cropped to the centre (scale {self.scale:g})",
            "letterbox": f"whole, on RGB {self.fill}",
        }
        return f"{kernel}, {ways[self.fit]}"


def _of_older_version(stated: object) -> object:
    """Before manifest schema 4 and encoder schema 3 the filter's name stood alone, and meant the default."""
    return Resize() if stated == "bilinear" else stated


class Framing(Record):
    """The size of an encoder's input, and the way there."""

    height: int = Field(strict=True, gt=0)
    """Pixels."""
    width: int = Field(strict=True, gt=0)
    """Pixels."""
    resize: Annotated[Resize, BeforeValidator(_of_older_version)] = Resize()
    """How a picture is brought to this size."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.height, self.width

    @classmethod
    def of(cls, into: Into) -> Framing:
        """Return a framing as it is; a (height, width) alone is stretched to, by the default resize."""
        return into if isinstance(into, Framing) else Framing(height=into[0], width=into[1])


Into = tuple[int, int] | Framing
"""What a picture is brought to: a framing, or (height, width) for the default resize."""
