"""Static int8 for ExecuTorch: PT2E with XNNPACK's quantizer, weights per channel, float32 at both ends."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.targets.layers import check_names, owners

if TYPE_CHECKING:
    import torch


def quantised(
    module: torch.nn.Module, images: NDArray[np.uint8], float_layers: Collection[str]
) -> torch.nn.Module:
    """Return the module with int8 layers, ready for `torch.export`.

    Args:
        module: float32 [1, 3, H, W] in 0..255 -> unit-length float32 [1, D].
        images: uint8 [C, H, W, 3] to find the ranges of activations by.
        float_layers: Names of the layers that stay in float.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    batches = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().contiguous() for image in images]
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    traced: Any = torch.export.export(module, (batches[0],)).module()
    quantizer.set_filter_function(_not_in(traced.graph, float_layers))
    prepared: Any = prepare_pt2e(traced, quantizer)
    with torch.inference_mode():
        for batch in batches:
            prepared(batch)
    converted: torch.nn.Module = convert_pt2e(prepared)
    return converted


def _not_in(graph: torch.fx.Graph, float_layers: Collection[str]) -> Callable[[Any], bool]:
    """Return what tells XNNPACK's quantizer which nodes it may take; it knows them by their names."""
    owned = owners(graph)
    check_names("executorch", [layer for layer in owned.values() if layer], float_layers)
    kept = {node.name for node, layer in owned.items() if layer and layer.name in float_layers}
    return lambda node: node.name not in kept
