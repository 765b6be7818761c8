"""Predicts the peak memory of one query: weights, live activations and workspace.

Constants: measured in November 2026 with the nets of benchmarks/measure_artifacts.py on x86-64 Linux, as the growth of
a process that loads an artifact and embeds one image (VmHWM), the runtime's own code not counted, free heap given back
before. The records are in benchmarks/results, and tests hold the predictions within the errors below.

* executorch 1.4.1 (XNNPACK): the file, and a part of the weights that XNNPACK has packed while the file is freed piece
  by piece: 8 % too low to 27 % too high; int8 10 % and 24 %, int8-dynamic 14 % and 26 %. No im2col: XNNPACK convolves
  through pointers.
* tflite (LiteRT 2.3.0, XNNPACK): the mapped file, the packed weights and what packing takes: within 13 %. fp16 is
  stored, not computed in: the weights are unfolded to float32 while the file stays (within 11 %). int8 within 22 %,
  int8-dynamic within 14 %. int8-weights are unfolded to float32 twice, nine files' worth: within 6 %.
* onnx (ONNX Runtime 1.31.1): the file, and for each convolution three more copies of its weights (parsed,
  reordered for blocked kernels, and the arena's growth by powers of two); matrix products keep little more
  than the file. Within 26 % of the measured on x86-64. On ARM fewer kernels are blocked: there it should err
  on the safe side, which nobody measured. It unfolds fp16 to float32 (within 17 %), and holds int8 in fewer
  copies than fp32 (within 23 %).
* coreml: nothing can be measured off macOS. Assumed: the file and one copy of the weights in the compute unit's layout.
* executorch-coreml: cannot be measured either. Assumed: the file, the weights once more in the package that the
  delegate unpacks from it, and that copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from prunnet.cost.graph import CostGraph
from prunnet.cost.width import width_of
from runtime_py.bundle.manifest import Precision, Target


@dataclass(frozen=True)
class Residence:
    """How a runtime holds an artifact in memory."""

    conv_copies: float
    """Copies of the convolutions' weights that stay besides the file."""
    matmul_copies: float
    """Copies of the other weights that stay besides the file."""
    workspace: int
    """Bytes of arena, threads and bookkeeping."""
    activation: int | None = None
    """Bytes of an element that is computed with, where that is not the precision's own width."""


RESIDENCE: dict[Target, Residence] = {
    "executorch": Residence(conv_copies=0.45, matmul_copies=0.05, workspace=350_000),
    "tflite": Residence(conv_copies=1.45, matmul_copies=1.35, workspace=260_000),
    "onnx": Residence(conv_copies=3.2, matmul_copies=0.85, workspace=1_600_000),
    "executorch-coreml": Residence(conv_copies=2.0, matmul_copies=2.0, workspace=0),
    "coreml": Residence(conv_copies=1.0, matmul_copies=1.0, workspace=0),
}

BY_PRECISION: dict[tuple[Target, Precision], Residence] = {
    ("executorch", "int8"): Residence(conv_copies=0.1, matmul_copies=0.35, workspace=410_000),
    ("executorch", "int8-dynamic"): Residence(conv_copies=0.9, matmul_copies=0.17, workspace=420_000),
    ("tflite", "fp16"): Residence(conv_copies=3.15, matmul_copies=2.9, workspace=260_000, activation=4),
    ("tflite", "int8"): Residence(conv_copies=1.4, matmul_copies=2.0, workspace=380_000),
    ("tflite", "int8-dynamic"): Residence(conv_copies=1.4, matmul_copies=1.8, workspace=400_000),
    ("tflite", "int8-weights"): Residence(
        conv_copies=8.5, matmul_copies=8.3, workspace=310_000, activation=4
    ),
    ("onnx", "fp16"): Residence(conv_copies=7.5, matmul_copies=3.2, workspace=2_000_000, activation=4),
    ("onnx", "int8"): Residence(conv_copies=0.75, matmul_copies=2.1, workspace=2_600_000, activation=4),
}
"""Precisions that a runtime holds otherwise than the target's own row says; copies are counted in stored weights."""


FRAMES: dict[Target, float] = {
    "executorch": 5.8,
    "tflite": 3.6,
    "onnx": 1.5,
    "executorch-coreml": 5.8,
    "coreml": 5.8,
}
"""How often a runtime holds a camera's frame in float32 while an artifact resizes it. Measured with the built-in
encoder at capacity 0.2, 640 x 480, fp32 and int8 (x86-64 Linux, benchmarks/raw_input.py). Core ML's are assumed."""


def frame_bytes(target: Target, size: tuple[int, int]) -> int:
    """Return the bytes that a resize inside the artifact adds to the peak memory.

    Args:
        target: Format of the artifact.
        size: (height, width) of the frame, pixels.
    """
    return round(FRAMES[target] * size[0] * size[1] * 3 * 4)


def peak_memory_bytes(graph: CostGraph, target: Target, precision: Precision, artifact_bytes: int) -> int:
    """Return the predicted peak bytes of loading the artifact and answering one query.

    The runtime's own code is not counted: an application loads it once for all its models.

    Args:
        graph: Fused cost graph.
        target: Format of the artifact.
        precision: Of the artifact.
        artifact_bytes: Size of the artifact.
    """
    residence, width = BY_PRECISION.get((target, precision), RESIDENCE[target]), width_of(target, precision)
    conv = sum(op.weights for op in graph.ops if op.kind != "matmul") * width.weight
    other = sum(width.of_weights(op) for op in graph.ops) - conv
    kept = artifact_bytes + residence.conv_copies * conv + residence.matmul_copies * other
    live = graph.peak_elements * (residence.activation or width.activation)
    return round(kept + live) + residence.workspace
