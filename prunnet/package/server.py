"""The server's side of a check: the dense encoder of a package, for `prunnet-check --server FOLDER`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from prunnet.encoder.embedding import embed
from prunnet.package.load import load_encoder


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
