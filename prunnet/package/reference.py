"""Reference embeddings: what an encoder made of some of its pictures when its package was written.

Tensors that fit say nothing about the code that uses them. An own module may be built otherwise than it was trained,
and a library may change a default between its releases; both show in the embeddings.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from prunnet.encoder.encoder import Encoder
from prunnet.tensors import as_batch

PICTURES = 4
"""The first of the calibration images; one batch."""

TOLERANCE = 2e-4
"""Largest distance between two unit-length embeddings of one picture that rounding explains.

Measured on six families (ResNet, MobileNetV3, ViT, ConvNeXt, EfficientNet and the built-in encoder): other instruction
sets, thread counts, batches, and float64 move an embedding by at most 1.2e-5. An epsilon of 1e-4 where it was 1e-5, the
smallest fault tried, moves it by 7.8e-4 or more.
"""


def references_of(encoder: Encoder, calibration: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Embed the first `PICTURES` calibration images with a copy of the encoder, in eval mode on the CPU.

    Args:
        encoder: The dense encoder.
        calibration: uint8 [C, H, W, 3].

    Returns:
        float32 [min(C, PICTURES), D], unit length.
    """
    still = copy.deepcopy(encoder).cpu().eval()
    pixels = as_batch(calibration[:PICTURES]).contiguous()
    with torch.no_grad():
        embeddings: npt.NDArray[np.float32] = still(pixels).float().numpy()
    return embeddings


def distance(found: npt.NDArray[np.float32], stored: npt.NDArray[np.float32]) -> float:
    """Return the largest Euclidean distance of two rows, in [0, 2]; infinite if one is not finite."""
    apart: npt.NDArray[Any] = np.linalg.norm(found.astype(np.float64) - stored.astype(np.float64), axis=1)
    return float(apart.max()) if bool(np.isfinite(apart).all()) else float("inf")
