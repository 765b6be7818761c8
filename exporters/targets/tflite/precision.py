"""Narrower numbers for TFLite. Static int8: weights per channel, activations per tensor, float32 at both ends.

What comes before the first and after the last layer with weights stays float32.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.targets.placement import Places
from exporters.targets.tflite.operators import operators_of


def quantised(float_model: Path, images: NDArray[np.uint8], in_float: Places) -> bytes:
    """Return the int8 model.

    Args:
        float_model: A float32 `.tflite` with one NHWC input in 0..255.
        images: uint8 [C, H, W, 3] to find the ranges of activations by.
        in_float: Tells which operations stay in float.
    """
    from ai_edge_quantizer import qtyping, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    (signature,) = _signatures(float_model).items()
    key, ((taken,), _) = signature[0], signature[1].values()
    quantizer = Quantizer(str(float_model))
    quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
    keep_float: list[tuple[str, Any]] = [
        (".*", qtyping.TFLOperationName.INPUT),
        (".*", qtyping.TFLOperationName.OUTPUT),
        (_any_of(_outputs_in_float(float_model, in_float)), qtyping.TFLOperationName.ALL_SUPPORTED),
    ]
    for regex, operation in keep_float:
        quantizer.update_quantization_recipe(
            regex=regex, operation_name=operation, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    samples = [{taken: image[np.newaxis].astype(np.float32)} for image in images]
    recipes = RecipeManager()
    recipes.load_quantization_recipe(quantizer.get_quantization_recipe())
    # The quantizer's own `calibrate` averages the ranges over the images, which clips the rarer ones.
    calibrator = Calibrator(str(float_model), num_threads=1, qsv_update_func=min_max_update)
    calibrator.calibrate({key: samples}, recipes)
    return bytes(quantizer.quantize(calibrator.get_model_qsvs()).quantized_model)


def stored_as_int8(float_model: Path, in_float: Places, dynamic: bool) -> bytes:
    """Return the model with int8 weights.

    Args:
        float_model: A float32 `.tflite`.
        in_float: As `quantised`.
        dynamic: Whether layers compute in int8, and find the range of their input anew for each picture. If not, the
            weights are unfolded to float32 before.
    """
    from ai_edge_quantizer import qtyping, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(float_model))
    quantizer.load_quantization_recipe(
        recipe.dynamic_wi8_afp32() if dynamic else recipe.weight_only_wi8_afp32()
    )
    quantizer.update_quantization_recipe(
        regex=_any_of(_outputs_in_float(float_model, in_float)),
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        algorithm_key=AlgorithmName.NO_QUANTIZE,
    )
    return bytes(quantizer.quantize().quantized_model)


def halved(float_model: Path) -> bytes:
    """Return the model with the weights of its layers stored as float16; it computes in float32.

    Args:
        float_model: A float32 `.tflite`.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.quantizer import Quantizer

    stored = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    quantizer = Quantizer(str(float_model))
    quantizer.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=stored,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    return bytes(quantizer.quantize().quantized_model)


def _outputs_in_float(model: Path, in_float: Places) -> list[str]:
    """Return the names of the tensors that come out of what stays in float."""
    operators = operators_of(model)
    kept = in_float([each.weights for each in operators])
    return [name for each, stays in zip(operators, kept, strict=True) if stays for name in each.outputs]


def _signatures(model: Path) -> dict[str, dict[str, list[str]]]:
    from ai_edge_litert.interpreter import Interpreter

    signatures: dict[str, dict[str, list[str]]] = Interpreter(model_path=str(model)).get_signature_list()
    return signatures


def _any_of(names: list[str]) -> str:
    """Return a pattern for the scope of an op, which is the names of its outputs, each with a semicolon."""
    return f"^(?:{'|'.join(map(re.escape, names))});*$"
