"""The real images by which int8 ranges are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ExportError
from exporters.targets.spec import ExportSpec

MOST = 128
"""More images than this change the observed ranges no longer, but cost seconds each hundred."""


def calibration_images(spec: ExportSpec, target: str) -> NDArray[np.uint8]:
    """Return uint8 [C, H, W, 3], C <= 128, spread evenly over the spec's images.

    Raises:
        ExportError: There are none; ranges of noise would not be the ranges of photos.
    """
    images = spec.calibration_images
    if not len(images):
        raise ExportError(
            target, "calibrate", "int8 needs calibration images, and the encoder package has none"
        )
    chosen = np.linspace(0, len(images) - 1, min(len(images), MOST)).round().astype(int)
    return np.asarray(images[chosen], np.uint8)
