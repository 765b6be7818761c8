"""Whether a PNG holds all the rows that its header promises.

Pillow leaves the missing ones black and says nothing where the compressed data ends in good order, but too soon.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from runtime_py.errors import PictureError

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type of PNG -> values of a pixel."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, and the steps of each, of the seven pictures that an interlaced one is stored as."""
_BLOCK = 2**20


def require_all_rows(file: Path, picture: Image.Image) -> None:
    """Refuse a PNG whose pixels end before its last row.

    Missing rows are black, so a picture is read a second time only where its last row is, or where it is interlaced.

    Args:
        file: Where the picture is.
        picture: The same, its pixels loaded and not yet converted.

    Raises:
        PictureError: It lacks rows.
    """
    if picture.format != "PNG":
        return
    last = np.asarray(picture.crop((0, picture.height - 1, picture.width, picture.height)))
    if last.any() and not picture.info.get("interlace"):
        return
    with file.open("rb") as stream:
        promised, found = _sizes(stream)
    if found < promised:
        raise PictureError(
            file,
            "damaged",
            f"it ends early: {found:,} bytes of pixels, where its header promises {promised:,}",
        )


def _sizes(stream: IO[bytes]) -> tuple[int, int]:
    """Return how many bytes the rows of a PNG have, and how many of them are there."""
    stream.seek(8)
    promised, found, inflate = 0, 0, zlib.decompressobj()
    while (head := stream.read(8)) and len(head) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IHDR":
            promised = _bytes_of(stream.read(length))
        elif kind == b"IDAT":
            data = stream.read(length)
            while data and found < promised:
                found += len(inflate.decompress(data, _BLOCK))
                data = inflate.unconsumed_tail
        else:
            stream.seek(length, 1)
        stream.seek(4, 1)  # the checksum
    if found < promised:
        found += len(inflate.flush())
    return promised, found


def _bytes_of(header: bytes) -> int:
    """Return the bytes of all rows, each with the byte that names its filter."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _CHANNELS[header[9]]
    passes = _PASSES if header[12] else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return total
