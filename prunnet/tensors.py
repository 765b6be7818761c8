"""Pictures as a network takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from runtime_py.arrays import Pixels


def as_batch(images: Pixels | Tensor) -> Tensor:
    """Turn images into what an encoder takes.

    Args:
        images: uint8 [N, H, W, 3], RGB. An array is copied, a tensor stays on its device.

    Returns:
        float32 [N, 3, H, W], still 0..255.
    """
    pixels = images if isinstance(images, Tensor) else torch.tensor(images)
    return pixels.permute(0, 3, 1, 2).float()
