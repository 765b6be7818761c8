"""More shapes for the second round, which needs no labels."""

from __future__ import annotations

import torch
from torch import Tensor

from prunnet.data.source import step_generator

_OF_SQUARES = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))[1:]
_OF_ALL = tuple(way for way in _OF_SQUARES if way[0] % 2 == 0)
_OWN_SEED = 7_919
"""Keeps the choice of the ways apart from that of the views, which is a function of the same seed and step."""


def turned(pixels: Tensor, share: float, seed: int, step: int) -> Tensor:
    """Turn or mirror the first images of a batch, each in a way drawn at random; none stays as it was.

    Images that are not square are turned by half a circle or mirrored only.

    Args:
        pixels: [N, C, H, W].
        share: Share of the images, in [0, 1].
        seed: Seed of the run.
        step: 0-based step; the same seed and step give the same.

    Returns:
        A tensor like `pixels`.
    """
    count = round(share * len(pixels))
    if not count:
        return pixels
    ways = _OF_SQUARES if pixels.shape[2] == pixels.shape[3] else _OF_ALL
    drawn = torch.randint(len(ways), (count,), generator=step_generator(seed + _OWN_SEED, step))
    result = pixels.clone()
    for number, (quarters, mirrored) in enumerate(ways):
        rows = (drawn == number).nonzero()[:, 0].to(pixels.device)
        images = torch.rot90(pixels[rows], quarters, (2, 3))
        result[rows] = images.flip(3) if mirrored else images
    return result
