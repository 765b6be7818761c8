"""Embedding the pictures of a benchmark, a few at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prunnet.data.pictures import Into, Pictures
from runtime_py.arrays import Floats, Pixels


def embed_pictures(
    embed: Callable[[Pixels], Floats],
    pictures: Pictures,
    into: Into,
    *,
    count: int = 256,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """Read and embed pictures.

    Args:
        embed: uint8 [N, height, width, 3] -> float32 [N, D].
        pictures: What to embed.
        into: The encoder's framing, or (height, width) to stretch to.
        count: Pictures held at once.
        progress: Told (done, all) after each part.

    Returns:
        float32 [N, D], in the order of the pictures.

    Raises:
        DatasetError: A picture is not readable.
    """
    parts, done = [], 0
    for images in pictures.batches(into, count):
        parts.append(embed(images))
        done += len(images)
        progress(done, len(pictures))
    return np.concatenate(parts)
