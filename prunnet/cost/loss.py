"""What a precision is expected to cost in retrieval, before anything is exported.

Measured with the built-in encoder on 8,035 pictures that no training saw, at capacity 1 and 0.2 (`python -m
benchmarks.precision_matrix`, docs/reference/precisions.md); the larger loss of the two. Another encoder loses more or
less: what its artifact really loses is measured at the export, and refused beyond `max_compression_drop`.
"""

from __future__ import annotations

from runtime_py.bundle.manifest import Precision, Target
from runtime_py.bundle.tolerances import TABLE, is_quantised

MAP_LOSS: dict[tuple[Target, Precision], float] = {
    ("executorch", "int8"): 0.06,
    ("coreml", "int8-weights"): 0.02,
    ("tflite", "int8"): 0.06,
    ("tflite", "int8-dynamic"): 0.02,
    ("onnx", "int8"): 0.07,
    ("executorch", "mixed"): 0.06,
    ("executorch", "int8-dynamic"): 0.0,
    ("coreml", "palette6"): 0.05,
    ("coreml", "palette4"): 0.97,
    ("tflite", "mixed"): 0.06,
    ("tflite", "int8-weights"): 0.02,
    ("onnx", "mixed"): 0.07,
}
"""Points of mean average precision."""


def map_loss(target: Target, precision: Precision) -> float:
    """Return the points of mean average precision, 0..100, that a precision is expected to cost.

    Where nobody measured it, it is the most that the gate of the precision accepts.

    Args:
        target: Format of the artifact.
        precision: Of the artifact.
    """
    if not is_quantised(precision):
        return 0.0
    accepted = TABLE[precision].max_compression_drop
    return MAP_LOSS.get((target, precision), 100 * accepted if accepted is not None else 100.0)
