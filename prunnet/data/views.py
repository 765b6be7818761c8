"""Camera-like views of flat pictures: perspective, light, colour, blur and noise, a whole batch at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator) * (high - low) + low


def _grid(generator: torch.Generator, count: int, size: int) -> Tensor:
    """Sampling grid [count, size, size, 2] of a random similarity, shear and perspective."""
    angle = torch.deg2rad(_uniform(generator, -20, 20, count))
    scale = _uniform(generator, 1.0, 1.45, count)
    aspect = torch.exp(_uniform(generator, -0.18, 0.18, count))
    shear = _uniform(generator, -0.25, 0.25, count)
    shift = _uniform(generator, -0.18, 0.18, count, 2)
    tilt = _uniform(generator, -0.28, 0.28, count, 2)
    matrix = torch.zeros(count, 3, 3)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix[:, 0, 0], matrix[:, 0, 1] = cos * aspect, -sin + shear
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos / aspect
    matrix[:, :2, 2], matrix[:, 2, :2], matrix[:, 2, 2] = shift, tilt, 1.0
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    points = torch.stack([*torch.meshgrid(line, line, indexing="xy"), torch.ones(size, size)], dim=-1)
    warped = torch.einsum("nij,hwj->nhwi", matrix, points)
    grid: Tensor = warped[..., :2] / warped[..., 2:].clamp(min=0.3)
    return grid


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with one sigma (pixels) per image; images are [N, 1, H, W].

    A mixture of the image and one wide Gaussian with the asked variance: one convolution serves the whole batch.
    """
    widest = 1.4
    taps = torch.exp(-0.5 * (torch.arange(-3, 4, dtype=torch.float32) / widest) ** 2)
    taps = taps / taps.sum()
    wide = F.conv2d(F.pad(images, (3, 3, 3, 3), mode="replicate"), taps[None, None, :, None])
    wide = F.conv2d(wide, taps[None, None, None, :])
    return torch.lerp(images, wide, ((sigma / widest) ** 2)[:, None, None, None])


def _lit(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Paint the coverage `ink` [N, 1, S, S] with two colours under a sloping light, with sensor noise."""
    count, _, size, _ = ink.shape
    paper = _uniform(generator, 0, 255, count, 3, 1, 1)
    # The ink is at least a fifth of the range away from the paper in its mean, or there would be nothing to see.
    contrast = _uniform(generator, 55, 200, count, 1, 1, 1)
    sign = torch.where(paper.mean(1, keepdim=True) > 127, -1.0, 1.0)
    colour = paper + sign * contrast + _uniform(generator, -35, 35, count, 3, 1, 1)
    line = torch.linspace(-1, 1, size)
    slope = _uniform(generator, -0.3, 0.3, count, 2)
    light = 1 + slope[:, 0, None, None] * line[None, :, None] + slope[:, 1, None, None] * line[None, None, :]
    noise = torch.randn(count, 3, size, size, generator=generator) * _uniform(
        generator, 0, 12, count, 1, 1, 1
    )
    return (paper + ink * (colour - paper)) * light[:, None] + noise


def camera_views(pictures: Tensor, generator: torch.Generator, size: int) -> Tensor:
    """Photograph flat pictures.

    Args:
        pictures: uint8 [N, P, P], the coverage of the ink in 0..255.
        generator: Source of every random choice; the same state gives the same views.
        size: Height and width of the views, pixels.

    Returns:
        float32 [N, 3, size, size], RGB in 0..255, whole numbers.
    """
    count = pictures.shape[0]
    ink = pictures[:, None].float() / 255
    ink = F.grid_sample(ink, _grid(generator, count, size), align_corners=False, padding_mode="zeros")
    ink = _blur(ink, _uniform(generator, 0.25, 1.3, count))
    return _lit(ink, generator).clamp(0, 255).round()
