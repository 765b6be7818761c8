"""How a server's own model takes its pixels, read off its input shape."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from runtime_py.errors import BundleError

Layout = Literal["NCHW", "NHWC"]
_REMEDY = "give a model that takes one float32 RGB image in 0..255"


def layout_of(model: Path, shape: tuple[object, ...]) -> Layout:
    """Tell NCHW from NHWC by the axis of length 3; axes may be unknown (None, -1 or a name).

    Raises:
        BundleError: Neither or both axes are 3 long, or the batch is fixed at more than one.
    """
    channels_first, channels_last = len(shape) == 4 and shape[1] == 3, len(shape) == 4 and shape[3] == 3
    if channels_first == channels_last:
        raise BundleError(model, f"its input {list(shape)} is not an image with three channels", _REMEDY)
    if isinstance(shape[0], int) and shape[0] > 1:
        raise BundleError(model, f"its batch is fixed at {shape[0]}", "export it with batch 1 or any batch")
    return "NCHW" if channels_first else "NHWC"


def arrange(
    model: Path, image: npt.NDArray[np.uint8], layout: Layout, shape: tuple[object, ...]
) -> npt.NDArray[np.float32]:
    """Turn uint8 [H, W, 3] into the model's float32 batch of one.

    Raises:
        BundleError: The model's fixed height or width is another one.
    """
    batch = image[None].transpose(0, 3, 1, 2) if layout == "NCHW" else image[None]
    for wanted, given in zip(shape[1:], batch.shape[1:], strict=True):
        if isinstance(wanted, int) and wanted > 0 and wanted != given:
            raise BundleError(
                model,
                f"takes images of shape {list(shape)}, the bundle's probes are {list(batch.shape)}",
                "give the dense encoder that the bundle was cut from",
            )
    return np.ascontiguousarray(batch, dtype=np.float32)
