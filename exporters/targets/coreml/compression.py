"""Smaller weights, which Core ML unfolds when it loads: int8 per output channel, a palette for each layer, or sparse.

A palette of 6 bits holds 64 values, one of 4 bits 16. They are the optimal ones in one dimension (k-means, solved
exactly), so the same weights give the same bytes on every machine.

A network of granularity `weight` holds zeros. Its layers are stored as a bit for each weight and the values that are
not zero, in any precision: int8 and palettes then compress what is kept, which needs iOS 18.

The filters of a resize in front of the encoder (`raw_input`) stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prunnet.cost.width import width_of
from prunnet.cost.zeros import LEAST, least_weights, least_zeros, leaves_out
from prunnet.encoder.raw_input import FILTER
from runtime_py.bundle.manifest import Precision

if TYPE_CHECKING:
    import torch

PALETTE_BITS: dict[Precision, int] = {"palette6": 6, "palette4": 4}


def compressed(model: Any, precision: Precision, sparse: bool) -> Any:
    """Return the converted model with its weights as `precision` says.

    Args:
        model: coremltools' MLModel, an ML Program; of iOS 18 where it is both sparse and quantised.
        precision: Of the artifact.
        sparse: Whether some layer has enough zeros to leave them out (`has_zeros`).
    """
    from coremltools.optimize import coreml as compression

    if sparse:
        width = width_of("coreml", precision)
        # Only zeros are below the threshold: the smallest float16 is 6e-8.
        zeros = compression.OpThresholdPrunerConfig(
            threshold=1e-30,
            minimum_sparsity_percentile=least_zeros(width.weight),
            weight_threshold=least_weights(width.mask),
        )
        model = compression.prune_weights(model, _of_layers(model, zeros))
    if precision == "int8-weights":
        per_channel = compression.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=LEAST
        )
        return compression.linear_quantize_weights(
            model, _of_layers(model, per_channel), joint_compression=sparse
        )
    if precision in PALETTE_BITS:
        entries = 1 << PALETTE_BITS[precision]
        palettes = compression.OpPalettizerConfig(
            mode="custom", lut_function=lambda weights: palette(weights, entries), weight_threshold=LEAST
        )
        return compression.palettize_weights(model, _of_layers(model, palettes), joint_compression=sparse)
    return model


def _of_layers(model: Any, config: Any) -> Any:
    """Return coremltools' configuration that compresses every layer, and no filter of the resize."""
    from coremltools.optimize import coreml as compression

    names = compression.get_weights_metadata(model, weight_threshold=LEAST)
    return compression.OptimizationConfig(
        config, op_name_configs={name: None for name in names if FILTER in name}
    )


def has_zeros(module: torch.nn.Module, precision: Precision) -> bool:
    """Tell whether a layer of the module has enough zeros to be stored without them in a precision."""
    width = width_of("coreml", precision)
    return any(
        leaves_out(weight.numel(), int((weight == 0).sum()), width.weight, width.mask)
        for weight in module.parameters()
        if weight.ndim > 1
    )


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
