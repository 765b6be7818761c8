"""The server's side of a check: the dense encoder of a package, for `prunnet-check --server FOLDER`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prunnet.package.load import as_batch, load_encoder


class DenseServer:
    """Embeds as the server does.

    Args:
        path: Folder of an encoder package, or the name of the built-in one.
    """

    def __init__(self, path: str | Path) -> None:
        package = load_encoder(path)
        self.space_id = package.space_id
        self._module = package.subnetwork(1.0)

    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Map uint8 [N, H, W, 3] to float32 [N, D], unit length."""
        return embed(self._module, images)


def open_encoder_package(path: str | Path) -> DenseServer:
    """Open the dense encoder of a package (entry point `prunnet.servers`)."""
    return DenseServer(path)


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
