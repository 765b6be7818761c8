"""What a picture's header tells, without decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py.picture_files.opening import cut_short, opened, reduction, said
from runtime_py.picture_files.reading import open_picture

_UNSURE = ("F", "I")
"""Modes that are read or refused by what the pixels hold."""


@dataclass(frozen=True)
class Facts:
    """A picture, by its header.

    Attributes:
        width: Pixels, as stored.
        height: The same.
        transparent: It has an alpha channel or a transparent colour.
        profile: It carries a colour profile that is not sRGB (and is not applied).
        frames: It holds several frames or pages (the first counts).
        reduced: It is so large that it is decoded at a smaller size.
    """

    width: int
    height: int
    transparent: bool
    profile: bool
    frames: bool
    reduced: bool


def inspect_picture(file: Path) -> Facts:
    """Read the header of a picture; decode it only where the header leaves in doubt whether it can be read.

    Raises:
        PictureError: As `open_picture`.
        MissingExtraError: Pillow is not installed.
    """
    with opened(file) as picture:
        doubtful = picture.mode in _UNSURE or (picture.getbands() == ("L",) and picture.format == "TIFF")
        profile = picture.info.get("icc_profile") or b""
        facts = Facts(
            picture.width,
            picture.height,
            transparent=picture.has_transparency_data,
            profile=bool(profile) and b"sRGB" not in profile.replace(b"\0", b""),
            frames=_several(picture),
            reduced=reduction(picture) > 1,
        )
        with said(file), file.open("rb") as stream:
            doubtful = doubtful or cut_short(picture, stream)
    if doubtful:
        open_picture(file)
    return facts


def _several(picture: Any) -> bool:
    return bool(getattr(picture, "is_animated", False))
