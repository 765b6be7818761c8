"""Static int8 for ONNX: QDQ, weights per channel, activations per tensor, float32 at both ends.

What comes before the first and after the last layer with weights stays float32.

Activations are unsigned and weights signed, because ONNX Runtime then fuses every layer into integer kernels on x86 and
on Arm alike. With signed activations x86 leaves half of the layers in float32 between a dequantiser and a quantiser,
where the order of a sum decides ties: the built-in encoder's embeddings differed from Arm's by up to 0.006 (312 probes,
ONNX Runtime 1.31); now by 5e-8. `runtime_py.backends.onnx` says what x86 without VNNI needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.targets.onnx.ends import weights
from exporters.targets.placement import Places

if TYPE_CHECKING:
    import onnx

NORMALISATIONS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization")
"""They have no integer kernels."""


def quantised(model: onnx.ModelProto, images: NDArray[np.uint8], in_float: Places) -> onnx.ModelProto:
    """Return the int8 model.

    Args:
        model: A float32 model with one NCHW input in 0..255.
        images: uint8 [C, H, W, 3] to find the ranges of activations by.
        in_float: Tells which operations stay in float.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        given, prepared, written = (Path(scratch) / f"{name}.onnx" for name in ("given", "prepared", "int8"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        named = _named(onnx.load(prepared))
        onnx.save(named, prepared)
        kept = in_float(weights(named))
        quantize_static(
            prepared,
            written,
            _Reader(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[
                node.name
                for node, stays in zip(named.graph.node, kept, strict=True)
                if stays or node.op_type in NORMALISATIONS
            ],
        )
        return _without_unused_domains(onnx.load(written))


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a name: the quantizer keeps nodes in float by their names."""
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    return model


def _without_unused_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the operator sets that ONNX Runtime's optimiser lists and no node is of."""
    used = {node.domain for node in model.graph.node}
    for each in [each for each in model.opset_import if each.domain not in used]:
        model.opset_import.remove(each)
    return model


class _Reader:
    """Hands out one picture after the other, as `quantize_static` wants it."""

    def __init__(self, name: str, images: NDArray[np.uint8]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter(
            [{name: image.transpose(2, 0, 1)[None].astype(np.float32)} for image in images]
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return the next feed, None after the last."""
        return next(self._feeds, None)
