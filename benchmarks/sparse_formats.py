"""Would ONNX's and TFLite's own sparse formats gain anything? Bytes, and times in turns on one core, as ratios.

    python -m benchmarks.sparse_formats
    python -m benchmarks.sparse_formats --page

Our exporters write neither. ONNX: single operations, their weights as `sparse_initializer`. TFLite: a network of 1x1
and depthwise convolutions by TensorFlow's own converter, the smallest weights of its 1x1 convolutions set to zero. Both
hold the same weights dense for comparison, and must give the same results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import DOCS, Rows, measured, put
from exporters.quiet import quiet
from exporters.timing import interleave, one_core

PAGE = DOCS / "guide" / "choose.md"
COMMAND = "python -m benchmarks.sparse_formats --page"
RESULTS = Path(__file__).parent / "results" / "sparse_formats.json"

ZEROS = (0.5, 0.8, 0.9)
ROUNDS = 15
OPERATIONS = (
    ("Conv", (256, 256, 3, 3), (1, 256, 14, 14)),
    ("Conv", (512, 512, 1, 1), (1, 512, 14, 14)),
    ("MatMul", (1024, 1024), (1, 1024)),
    ("MatMul", (1024, 1024), (196, 1024)),
)
"""ONNX's name, shape of the weights, shape of what they are applied to."""
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512)
"""Output channels of the 1x1 convolutions, after a first layer of 32."""
SIDE = 96


def with_zeros(weights: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    """Return the weights with this share of them, the smallest, at zero."""
    return np.where(np.abs(weights) < np.quantile(np.abs(weights), share), 0, weights).astype(np.float32)


def compared(dense: Callable[[], Any], sparse: Callable[[], Any]) -> float:
    """Return the ratio of their times; RuntimeError if their results are not the same."""
    if not np.array_equal(np.asarray(dense()), np.asarray(sparse())):
        raise RuntimeError("the sparse file gives other results than the dense one")
    mine, theirs = interleave([sparse, dense], ROUNDS)
    return mine.median_ms / theirs.median_ms


def onnx_rows() -> Iterator[dict[str, Any]]:
    """Yield a row for each operation and share of zeros."""
    import onnxruntime

    random, options = np.random.default_rng(0), onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for kind, shape, source in OPERATIONS:
        for zeros in ZEROS:
            weights = with_zeros(random.standard_normal(shape), zeros)
            image = random.standard_normal(source).astype(np.float32)
            files = [_onnx(kind, weights, source, sparse) for sparse in (False, True)]
            sessions = [onnxruntime.InferenceSession(file, options) for file in files]
            runs = [partial(_result, session, image) for session in sessions]
            time = compared(*runs)
            yield {
                "what": f"{kind} {'x'.join(map(str, shape))} on {'x'.join(map(str, source))}",
                "zeros": zeros,
                "bytes": len(files[1]) / len(files[0]),
                "time": time,
            }


def _result(session: Any, image: np.ndarray[Any, Any]) -> Any:
    return session.run(None, {"x": image})[0]


def _onnx(kind: str, weights: np.ndarray[Any, Any], source: tuple[int, ...], sparse: bool) -> bytes:
    from onnx import TensorProto, helper

    pads = {"pads": [1, 1, 1, 1]} if weights.shape[2:] == (3, 3) else {}
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", list(source)), ("y", None))
    ]
    graph = helper.make_graph([helper.make_node(kind, ["x", "w"], ["y"], **pads)], "one", ends[:1], ends[1:])
    if sparse:
        flat = weights.reshape(-1)
        kept = np.flatnonzero(flat).astype(np.int64)
        parts = (
            helper.make_tensor(name, number, [len(kept)], values.tobytes(), raw=True)
            for name, number, values in (("w", TensorProto.FLOAT, flat[kept]), ("i", TensorProto.INT64, kept))
        )
        graph.sparse_initializer.append(helper.make_sparse_tensor(*parts, list(weights.shape)))
    else:
        graph.initializer.append(
            helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)
        )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def tflite_rows() -> Iterator[dict[str, Any]]:
    """Yield a row for each share of zeros."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    image = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    for zeros in ZEROS:
        model, files = _keras(tf, zeros), []
        for sparse in (False, True):
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
            with quiet(Path(os.devnull)):
                files.append(converter.convert())
        runs = [_litert(Interpreter(model_content=file, num_threads=1), image) for file in files]
        time = compared(*runs)
        yield {
            "what": "1x1 and depthwise convolutions",
            "zeros": zeros,
            "bytes": len(files[1]) / len(files[0]),
            "time": time,
        }


def _keras(tf: Any, zeros: float) -> Any:
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    image = tf.keras.Input((SIDE, SIDE, 3), batch_size=1)
    features, before = layers.Conv2D(32, 3, 2, "same", activation="relu6")(image), 32
    for width in WIDTHS:
        stride = 2 if width != before and width <= 256 else 1
        features = layers.ZeroPadding2D(((0, 1), (0, 1)) if stride == 2 else 1)(features)
        features = layers.DepthwiseConv2D(3, stride, "valid", activation="relu6")(features)
        features = layers.Conv2D(width, 1, activation="relu6")(features)
        before = width
    model = tf.keras.Model(image, layers.GlobalAveragePooling2D(keepdims=True)(features))
    for layer in model.layers:
        if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1):
            weights, biases = layer.get_weights()
            layer.set_weights([with_zeros(weights, zeros), biases])
    return model


def _litert(interpreter: Any, image: np.ndarray[Any, Any]) -> Callable[[], Any]:
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run() -> Any:
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run


def as_page(rows: Rows) -> str:
    """Return the table."""
    lines = ["| format | what | zeros | bytes | time |", "|---|---|---|---|---|"]
    for name, row in ((name, row) for name, part in rows.items() for row in part):
        figures = f"{row['zeros']:.0%} | {row['bytes']:.2f} | {row['time']:.2f}"
        lines.append(f"| {name} | {row['what']} | {figures} |".replace("%", " %"))
    return "\n".join(lines)


def main() -> int:
    with one_core():
        rows = measured(__doc__, {"onnx": onnx_rows, "tflite": tflite_rows}, RESULTS)
    put(PAGE, COMMAND, as_page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
