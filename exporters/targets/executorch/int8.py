"""int8 for ExecuTorch: PT2E with XNNPACK's quantizer, weights per channel, float32 at both ends.

`int8-dynamic` takes the linear layers alone: with dynamic convolutions the program that XNNPACK makes does not run
(ExecuTorch 1.4.1, vit_tiny: "Propagating input shapes failed").
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ExportError
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
    kept = {node.name for node, layer in owned.items() if layer is None or layer.name in float_layers}
    return lambda node: node.name not in kept


def dynamic(module: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """Return the module with int8 linear layers that find the range of their input anew for each picture.

    Args:
        module: float32 [1, 3, H, W] in 0..255 -> unit-length float32 [1, D].
        example: An input.

    Raises:
        ExportError: It has no linear layer.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    linear: Any = torch.ops.aten.linear.default
    traced = torch.export.export(module, (example,)).module()
    if not any(node.target == linear for node in traced.graph.nodes):
        raise ExportError(
            "executorch",
            "convert",
            "int8-dynamic quantises linear layers, and this network has none; take int8 or fp32 for "
            "precision.executorch",
        )
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    prepared: Any = prepare_pt2e(traced, XNNPACKQuantizer().set_operator_type(linear, config))
    with torch.inference_mode():
        prepared(example)
    converted: torch.nn.Module = convert_pt2e(prepared)
    return converted
