"""Gradients of a pointwise convolution, pixel by pixel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def pointwise_gradients(
    pixels: Tensor,
    kernel: Tensor,
    direction: Tensor,
    strides: Sequence[int],
    margins: Sequence[int],
    groups: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, kernel [O, I, 1, ...] and bias along a direction of the output."""
    of_pixels, of_kernel = torch.zeros_like(pixels), torch.zeros_like(kernel)
    inputs, outputs = kernel.shape[1], len(kernel) // groups
    for place in itertools.product(*(range(size) for size in direction.shape[2:])):
        read = tuple(p * s - m for p, s, m in zip(place, strides, margins, strict=True))
        if any(r < 0 or r >= size for r, size in zip(read, pixels.shape[2:], strict=True)):
            continue
        for group in range(groups):
            rows, columns = (
                slice(group * outputs, (group + 1) * outputs),
                slice(group * inputs, (group + 1) * inputs),
            )
            up = direction[(slice(None), rows, *place)]
            here = pixels[(slice(None), columns, *read)]
            matrix = kernel[rows].flatten(1)
            of_pixels[(slice(None), columns, *read)] += up @ matrix
            of_kernel[rows] += (up.T @ here).view_as(of_kernel[rows])
    return of_pixels, of_kernel, direction.sum([0, *range(2, direction.ndim)])
