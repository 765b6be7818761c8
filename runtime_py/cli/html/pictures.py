"""Small PNG files of pixels, by zlib: pillow is no dependency of a check."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from runtime_py.arrays import Pixels

MOST_PIXELS = 96
"""Longer side of a thumbnail; a page of 30 probes stays below a megabyte for each bundle."""


def thumbnail(image: Pixels) -> Pixels:
    """Shrink a picture [H, W, 3] by a whole factor, so that no side is longer than `MOST_PIXELS`.

    Each pixel is the mean of a square; what is left over at the right and the bottom is cut off.
    """
    factor = -(-max(image.shape[:2]) // MOST_PIXELS)
    height, width = (max(1, side // factor) for side in image.shape[:2])
    whole = image[: height * factor, : width * factor]
    squares = whole.reshape(height, min(factor, whole.shape[0]), width, min(factor, whole.shape[1]), 3)
    return np.asarray(squares.mean(axis=(1, 3)).round(), np.uint8)


def png(image: Pixels) -> bytes:
    """Encode a picture [H, W, 3] as PNG (truecolour, 8 bits, no filter; W3C PNG specification, section 11)."""
    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 3)], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
