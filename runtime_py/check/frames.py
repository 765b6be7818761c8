"""Probes for an artifact that resizes by itself: each is enlarged to a frame.

A frame repeats the probe's pixels, so that it need not be stored. The server's encoder sees it after the stated resize;
the reference embeddings of such a bundle are of that.
"""

from __future__ import annotations

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.check.drift import Embed
from runtime_py.framing import Framing
from runtime_py.picture_files import resize

_AT_ONCE = 8


def as_frames(images: Pixels, size: tuple[int, int]) -> Pixels:
    """Bring pictures to the size of a frame, each pixel from the nearest one.

    Args:
        images: uint8 [N, h, w, 3]; N may be 0.
        size: (height, width) of a frame, pixels.

    Returns:
        uint8 [N, height, width, 3].
    """
    rows, columns = (np.arange(n) * stored // n for n, stored in zip(size, images.shape[1:3], strict=True))
    return np.ascontiguousarray(images[:, rows[:, None], columns])


def behind_frames(embed: Embed, size: tuple[int, int]) -> Embed:
    """Return what embeds pictures of the encoder's size, as frames, a few at a time: many frames take much memory.

    Args:
        embed: What the artifact does: uint8 [N, *size, 3] to float32 [N, D].
        size: (height, width) of a frame, pixels.
    """

    def embedded(images: Pixels) -> Floats:
        parts = range(0, max(len(images), 1), _AT_ONCE)
        return np.concatenate([embed(as_frames(images[at : at + _AT_ONCE], size)) for at in parts])

    return embedded


def seen_through_frames(images: Pixels, size: tuple[int, int], framing: Framing) -> Pixels:
    """Return what the server's encoder sees of `as_frames`: uint8 [N, framing.height, framing.width, 3].

    Args:
        images: uint8 [N, h, w, 3], N >= 1.
        size: (height, width) of a frame, pixels.
        framing: The encoder's input, and the stated resize.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    return np.stack([resize(as_frames(image[None], size)[0], framing) for image in images])
