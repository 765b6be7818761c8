"""The real images by which int8 ranges are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ExportError
from exporters.targets.spec import ExportSpec

MOST = 128
"""More images than this change the observed ranges no longer, but cost seconds each hundred."""


MOST_BYTES = 2**27
"""Of frames: converters hold them all at once, in float32. At 640 x 480 that is no bound, at 1920 x 1080 21 images."""


def calibration_images(spec: ExportSpec, target: str) -> NDArray[np.uint8]:
    """Return uint8 [C, *spec.size, 3], C <= 128, of large frames fewer, spread evenly over the spec's images.

    Raises:
        ExportError: There are none; ranges of noise would not be the ranges of photos.
    """
    images = spec.calibration_images
    if not len(images):
        raise ExportError(
            target, "calibrate", "int8 needs calibration images, and the encoder package has none"
        )
    most = MOST
    if spec.frame is not None:
        most = min(MOST, max(1, MOST_BYTES // (3 * spec.frame[0] * spec.frame[1])))
    chosen = np.linspace(0, len(images) - 1, min(len(images), most)).round().astype(int)
    return spec.as_taken(np.asarray(images[chosen], np.uint8))
