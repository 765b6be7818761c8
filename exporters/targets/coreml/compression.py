"""Weights in fewer bits, which Core ML unfolds when it loads: int8 per output channel, or a palette for each layer.

A palette of 6 bits holds 64 values, one of 4 bits 16. They are the optimal ones in one dimension (k-means, solved
exactly), so the same weights give the same bytes on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime_py.bundle.manifest import Precision

LEAST = 2048
"""Layers of no more weights stay as they are: tables and scales would eat what they save."""

PALETTE_BITS: dict[Precision, int] = {"palette6": 6, "palette4": 4}


def compressed(model: Any, precision: Precision) -> Any:
    """Return the converted model with its weights as `precision` says; a float precision leaves them.

    Args:
        model: coremltools' MLModel, an ML Program with float16 weights.
        precision: Of the artifact.
    """
    from coremltools.optimize import coreml as compression

    if precision == "int8-weights":
        per_channel = compression.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=LEAST
        )
        return compression.linear_quantize_weights(model, compression.OptimizationConfig(per_channel))
    if precision in PALETTE_BITS:
        entries = 1 << PALETTE_BITS[precision]
        palettes = compression.OpPalettizerConfig(
            mode="custom", lut_function=lambda weights: palette(weights, entries), weight_threshold=LEAST
        )
        return compression.palettize_weights(model, compression.OptimizationConfig(palettes))
    return model


def palette(
    weights: npt.NDArray[np.floating], entries: int
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.uint8]]:
    """Return the table with the least squared error, and the entry of each weight.

    Args:
        weights: Any shape.
        entries: At most 256.

    Returns:
        The table [entries], ascending, in the weights' type, zeros at its end where there are fewer different
        weights; and the indices, flat.
    """
    from coremltools._deps import kmeans1d

    values, places, counts = np.unique(weights, return_inverse=True, return_counts=True)
    clusters, centres = kmeans1d.cluster(values, min(entries, len(values)), weights=counts)
    table = np.zeros(entries, weights.dtype)
    table[: len(centres)] = centres
    return table, np.asarray(clusters, np.uint8)[places].reshape(-1)
