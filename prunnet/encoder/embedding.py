"""Running a module over pictures: from uint8 images to embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prunnet.tensors import as_batch


@torch.no_grad()
def embed(module: nn.Module, images: npt.NDArray[np.uint8], batch_size: int = 256) -> npt.NDArray[np.float32]:
    """Embed images with a module in eval mode.

    Args:
        module: float32 [N, 3, H, W] raw RGB -> float32 [N, D].
        images: uint8 [N, H, W, 3].
        batch_size: Images per forward pass.

    Returns:
        float32 [N, D].
    """
    parts = [module(as_batch(images[i : i + batch_size])).numpy() for i in range(0, len(images), batch_size)]
    return np.concatenate(parts)
