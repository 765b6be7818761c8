"""The precision that a manifest states, against what the artifact stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime_py.backends import open_backend
from runtime_py.backends.onnx_weights import read_weights
from runtime_py.backends.weights import Stored, expect_precision
from runtime_py.errors import BundleError

CASES = [
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("tflite", "fp32"),
    ("tflite", "fp16"),
    ("tflite", "int8"),
    ("tflite", "int8-dynamic"),
    ("tflite", "int8-weights"),
    ("coreml", "fp32"),
    ("coreml", "fp16"),
    ("coreml", "int8-weights"),
    ("coreml", "palette6"),
    ("coreml", "palette4"),
    ("executorch-coreml", "fp32"),
    ("executorch-coreml", "fp16"),
    ("executorch", "int8"),
    ("executorch", "int8-dynamic"),
]


@pytest.mark.parametrize(("target", "precision"), CASES)
def test_an_artifact_stores_what_is_stated_and_no_other(
    converted: Callable, target: str, precision: str
) -> None:
    artifact = converted(target, precision)
    weights = open_backend(target, artifact.path, artifact.input, artifact.output).weights()
    assert bool(weights) == (target != "executorch")
    expect_precision(artifact.path, precision, weights)
    for lie in {"fp32", "fp16", "int8"} - {precision.split("-")[0]} if weights else ():
        with pytest.raises(BundleError, match=f"its manifest says {lie}, its weights are stored otherwise"):
            expect_precision(artifact.path, lie, weights)


def test_every_weight_of_an_onnx_file_is_found(converted: Callable) -> None:
    import onnx

    path = converted("onnx", "fp32").path
    wanted = [list(each.dims) for each in onnx.load(path).graph.initializer if len(each.dims) > 1]
    assert [each.elements for each in read_weights(path)] == [_product(sizes) for sizes in wanted] != []


@pytest.mark.parametrize("stated", ["fp32", "fp16", "int8"])
def test_small_layers_may_keep_a_wider_type(stated: str) -> None:
    large = Stored({"fp32": "float32", "fp16": "float16", "int8": "int8"}[stated], 10_000)
    expect_precision(Path("x"), stated, [large, Stored("float32", 500)])  # type: ignore[arg-type]
    expect_precision(Path("x"), stated, [Stored("float32", 2000)])  # type: ignore[arg-type]


def test_damaged_protobuf_is_a_value_error(tmp_path: Path) -> None:
    for content in (b"\x3a\xff\xff\x03", b"\xff" * 12, b"\x3b", b"\x3a\x03\x2a\x7f\x08"):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(ValueError, match="byte"):
            read_weights(tmp_path / "x.onnx")


def _product(sizes: list[int]) -> int:
    found = 1
    for size in sizes:
        found *= size
    return found
