"""Pictures of original size for a bundle: drawn ones, and those that the encoder package keeps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from runtime_py.arrays import Pixels
from runtime_py.bundle.originals import Originals
from runtime_py.check.originals import framed
from runtime_py.check.parity_pictures import NAMES, parity_pictures
from runtime_py.framing import Framing

if TYPE_CHECKING:
    from prunnet.encoder.encoder import Encoder
    from prunnet.package.package import EncoderPackage

DRAWN = (
    "red letter",
    "red on dark blue",
    "squares on grey",
    "quadrants",
    "white letter",
    "upright stripes",
    "level lines",
)
"""Parity pictures that show a wrong resize (stripes and lines: a missing antialias), swapped channels or a turn."""
TURNED = ("red letter", "squares on grey")
"""Of them, those that are stored on their side, with the EXIF entry that says so."""

_TALLER, _WIDER = 2.5, 3.3
"""How much larger than the input they are drawn: not whole, and not of its aspect."""
_LONGEST = 1600
"""Pixels of a side, where the input leaves that much; they are never smaller than the input."""
_ORIENTATION, _QUARTER = 0x0112, 6


def originals_of(package: EncoderPackage, module: Encoder, frame: tuple[int, int] | None = None) -> Originals:
    """Return the originals of a bundle, with what the torch subnetwork makes of them.

    Args:
        package: The encoder.
        module: The subnetwork.
        frame: (height, width) of the frames that the artifact takes, pixels. The package's pictures, which are of
            other sizes, are then left out.
    """
    from prunnet.encoder.embedding import embed

    files = drawn(package.preprocessing, frame)
    if frame is None:
        files += package.probes.originals
    return Originals(files, embed(module, framed(files, package.preprocessing)))


def drawn(framing: Framing, frame: tuple[int, int] | None = None) -> tuple[bytes, ...]:
    """Draw pictures as PNG files: of the size of a frame (height, width), pixels; without one larger than the input."""
    height, width = frame or (
        max(side, round(min(times * side, _LONGEST)))
        for side, times in zip(framing.size, (_TALLER, _WIDER), strict=True)
    )
    pictures = parity_pictures(height, width)
    return tuple(_png(pictures[NAMES.index(name)], name in TURNED) for name in DRAWN)


def _png(pixels: Pixels, turned: bool) -> bytes:
    from PIL import Image

    picture, exif = Image.fromarray(pixels), Image.Exif()
    if turned:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[_ORIENTATION] = _QUARTER
    content = io.BytesIO()
    picture.save(content, "PNG", exif=exif, optimize=True)
    return content.getvalue()
