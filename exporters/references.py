"""What torch makes of the probes: the reference of every check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

BATCH = 32


def torch_embeddings(module: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed images with a torch module.

    Args:
        module: float32 [N, 3, H, W] in 0..255 -> unit-length float32 [N, D]; in eval mode, on the CPU.
        images: uint8 [N, H, W, 3], RGB, N >= 1.

    Returns:
        float32 [N, D].
    """
    import torch

    with torch.inference_mode():
        batches = [
            module(torch.from_numpy(images[start : start + BATCH].copy()).permute(0, 3, 1, 2).float())
            for start in range(0, len(images), BATCH)
        ]
        return np.asarray(torch.cat(batches).numpy(), np.float32)
