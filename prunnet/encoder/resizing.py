"""The stated resize as layers of a network.

Along one axis a resize to n of m pixels repeats itself every m / gcd(m, n) pixels: it is a convolution of that stride
with n / gcd(m, n) filters, and no larger a product than it must be. The filters are those that
`runtime_py.framing.Resize` states; nothing is rounded (docs/decisions/raw_input.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from prunnet.encoder.raw_input import RawInput
from runtime_py.arrays import Doubles
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files.resizing import placed


class ResizingEncoder(nn.Module):
    """An encoder that takes frames: float32 [N, 3, *frame] -> float32 [N, D]."""

    def __init__(self, encoder: nn.Module, raw: RawInput) -> None:
        super().__init__()
        framing = raw.framing
        scaled = placed(raw.size, framing)
        places = [_place(whole, kept) for whole, kept in zip(scaled, framing.size, strict=True)]
        axes = zip(raw.size, scaled, places, strict=True)
        self.down, self.across = (
            nn.Identity()
            if stored == whole == place.count
            else _Axis(stored, whole, place, framing.resize, dim)
            for dim, (stored, whole, place) in zip((2, 3), axes, strict=True)
        )
        # Bicubic weights leave 0..255. Antialiased, they are cut after each axis, columns first. Else the order is
        # free, and ONNX Runtime takes less than half the time for rows first.
        self._cuts = framing.resize.filter == "bicubic"
        self._cuts_between = self._cuts and framing.resize.antialias
        self.border = _Border(framing, places) if framing.resize.fit == "letterbox" else nn.Identity()
        self.encoder = encoder

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Resize, then embed."""
        first, second = (self.across, self.down) if self._cuts_between else (self.down, self.across)
        image = first(image)
        if self._cuts_between:
            image = image.clamp(0, 255)
        image = second(image)
        if self._cuts:
            image = image.clamp(0, 255)
        embedding: torch.Tensor = self.encoder(self.border(image))
        return embedding


@dataclass(frozen=True)
class _Place:
    """Where an axis of the scaled picture meets the input: `count` of its rows from `first`, put at `at`."""

    first: int
    at: int
    count: int


def _place(whole: int, size: int) -> _Place:
    """Centre `whole` rows on `size`, as `runtime_py.picture_files.resize` does."""
    border = round((size - whole) / 2)
    return _Place(max(0, -border), max(0, border), min(whole, size))


class _Axis(nn.Module):
    """The resize along one axis: a strided convolution of every channel for itself."""

    def __init__(self, stored: int, scaled: int, place: _Place, rule: Resize, dim: int) -> None:
        super().__init__()
        common = math.gcd(stored, scaled)
        self._dim, self._phases, self._stride = dim, scaled // common, stored // common
        self._count, self._blocks = place.count, -(-place.count // self._phases)
        rows = range(place.first, place.first + self._blocks * self._phases)
        taps = [_taps(row, stored, scaled, rule) for row in rows]
        period = taps[: self._phases]
        start = min(first for first, _ in period)
        length = max(first + len(weights) for first, weights in period) - start
        kernel = np.zeros((self._phases, length))
        for phase, (first, weights) in enumerate(period):
            kernel[phase, first - start : first - start + len(weights)] = weights
        end = start + (self._blocks - 1) * self._stride + length
        self._kept = max(0, start), min(stored, end)
        self._padding = max(0, -start), max(0, end - stored)
        self._repeats = not rule.antialias
        shape = (3 * self._phases, 1, length, 1) if dim == 2 else (3 * self._phases, 1, 1, length)
        self.resize_filter = nn.Buffer(torch.tensor(kernel).float().repeat(3, 1).reshape(shape))
        # An antialiased filter that reaches over the border is scaled to what lies inside: down, where the weights
        # outside are negative.
        inside = [_inside(first, weights, stored) for first, weights in taps[: place.count]]
        self._scales = not self._repeats and not np.allclose(inside, 1, rtol=0, atol=1e-9)
        self.scale = nn.Buffer(
            torch.tensor(1 / np.array(inside)).float().reshape((-1, 1) if dim == 2 else (-1,))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        dim, (first, end) = self._dim, self._kept
        if (first, end) != (0, image.shape[dim]):
            image = image.narrow(dim, first, end - first)
        image = self._padded(image)
        stride = (self._stride, 1) if dim == 2 else (1, self._stride)
        image = F.conv2d(image, self.resize_filter, stride=stride, groups=3)
        if self._phases > 1:
            image = image.reshape(image.shape[0], 3, self._phases, *image.shape[2:])
            image = image.transpose(2, 3) if dim == 2 else image.permute(0, 1, 3, 4, 2)
            image = image.flatten(dim, dim + 1)
        if self._blocks * self._phases > self._count:
            image = image.narrow(dim, 0, self._count)
        return image * self.scale if self._scales else image

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        before, after = self._padding
        if not (before or after):
            return image
        if not self._repeats:
            return F.pad(image, (0, 0, before, after) if self._dim == 2 else (before, after))
        last = image.shape[self._dim] - 1
        ends = [image.narrow(self._dim, 0, 1)] * before, [image.narrow(self._dim, last, 1)] * after
        return torch.cat([*ends[0], image, *ends[1]], self._dim)


class _Border(nn.Module):
    """The border of a letterbox."""

    def __init__(self, framing: Framing, places: list[_Place]) -> None:
        super().__init__()
        down, across = places
        (height, width), colour = framing.size, framing.resize.fill
        self._padding = (
            across.at,
            width - across.at - across.count,
            down.at,
            height - down.at - down.count,
        )
        border = np.empty((3, height, width), np.float32)
        border[:] = np.reshape(colour, (3, 1, 1))
        border[:, down.at : down.at + down.count, across.at : across.at + across.count] = 0
        self.fill = nn.Buffer(torch.from_numpy(border)) if any(colour) else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = F.pad(image, self._padding)
        return image if self.fill is None else image + self.fill


def _taps(row: int, stored: int, scaled: int, rule: Resize) -> tuple[int, Doubles]:
    """Return what makes a row: the first pixel, which may lie outside, and weights from there that sum to 1."""
    ratio = stored / scaled
    reach = 1 if rule.filter == "bilinear" else 2
    widening = max(ratio, 1.0) if rule.antialias else 1.0
    centre = (row + 0.5) * ratio
    if rule.antialias:
        first, end = (math.floor(centre + side * reach * widening + 0.5) for side in (-1, 1))
    else:
        first = math.floor(centre - 0.5) - reach + 1
        end = first + 2 * reach
    away = np.abs(np.arange(first, end) - centre + 0.5) / widening
    weights = np.maximum(0, 1 - away) if rule.filter == "bilinear" else _cubic(away)
    return first, weights / weights.sum()


def _cubic(away: Doubles) -> Doubles:
    """Keys' cubic with a = -0.5."""
    near = (1.5 * away - 2.5) * away * away + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.where(away < 1, near, np.where(away < 2, far, 0.0))


def _inside(first: int, weights: Doubles, stored: int) -> float:
    """Return the sum of the weights of pixels that exist."""
    at = np.arange(first, first + len(weights))
    return float(weights[(at >= 0) & (at < stored)].sum())
