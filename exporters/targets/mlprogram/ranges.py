"""Looks for values that fp16 cannot hold, by executing the saved program on real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ExportError
from runtime_py.bundle.manifest import Target

if TYPE_CHECKING:
    import torch

FP16_MAX = float(np.finfo(np.float16).max)
HEADROOM = 8
"""A peak above the largest fp16 value divided by this earns a note: other images may be brighter."""
IMAGES = 4


def check_range(path: Path, input_name: str, images: NDArray[np.uint8], target: Target) -> tuple[str, ...]:
    """Execute a package on a few images and look at every result.

    Args:
        path: The `.mlpackage`.
        input_name: Its image input.
        images: uint8 [N, H, W, 3], of the input's size; the first `IMAGES` are used.
        target: Whose package it is.

    Returns:
        A note if a value comes close to the end of fp16's range, else nothing.

    Raises:
        ExportError: A result is not finite; names the operation.
    """
    from runtime_py.mil_executor.executor import Executor
    from runtime_py.mil_executor.package import Package

    executor = Executor(Package(path), "declared")
    peaks: dict[str, float] = {}

    def look(kind: str, name: str, value: torch.Tensor) -> None:
        if not value.is_floating_point() or not value.numel():
            return
        peak = float(value.abs().max())
        if not np.isfinite(peak):
            raise ExportError(
                target,
                "convert",
                f"operation {kind} {name!r} leaves the range of fp16 (largest value {FP16_MAX:g}) on a "
                f"calibration image; set precision.{target} to fp32 in the profile",
            )
        peaks[f"{kind} {name!r}"] = max(peak, peaks.get(f"{kind} {name!r}", 0.0))

    for image in images[:IMAGES]:
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)
        executor.run({input_name: pixels}, look)
    place, peak = max(peaks.items(), key=lambda item: item[1], default=("", 0.0))
    if peak * HEADROOM <= FP16_MAX:
        return ()
    return (f"largest value {peak:.4g} in {place}; fp16 ends at {FP16_MAX:g}",)
