"""Pictures to try an encoder on: smooth, coloured, different from each other, the same on every machine."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pictures(size: tuple[int, int], count: int) -> Tensor:
    """Return sums of waves of all directions, float32 [count, 3, H, W] in 0..255.

    Args:
        size: (height, width), pixels.
        count: How many.
    """
    height, width = size
    y = torch.linspace(0, 1, height).view(-1, 1)
    x = torch.linspace(0, 1, width).view(1, -1)
    planes = []
    for number in range(3 * count):
        phase, turn = 2.4 * number, 1.7 * number
        plane = torch.zeros(height, width)
        for f in (1, 2.3, 5.1, 11.7):
            along = x * math.cos(turn * f) + y * math.sin(turn * f)
            plane = plane + torch.sin(2 * math.pi * f * along + phase) / f**0.5
        planes.append(plane)
    stacked = torch.stack(planes).view(count, 3, height, width)
    return ((stacked + 3) * 42).clamp(0, 255)
