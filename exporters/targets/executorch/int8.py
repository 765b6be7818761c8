"""Static int8 for ExecuTorch: PT2E with XNNPACK's quantizer, weights per channel, float32 at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def quantised(module: torch.nn.Module, images: NDArray[np.uint8]) -> torch.nn.Module:
    """Return the module with int8 layers, ready for `torch.export`.

    Args:
        module: float32 [1, 3, H, W] in 0..255 -> unit-length float32 [1, D].
        images: uint8 [C, H, W, 3] to find the ranges of activations by.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    batches = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().contiguous() for image in images]
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared: Any = prepare_pt2e(torch.export.export(module, (batches[0],)).module(), quantizer)
    with torch.inference_mode():
        for batch in batches:
            prepared(batch)
    converted: torch.nn.Module = convert_pt2e(prepared)
    return converted
