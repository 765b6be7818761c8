"""Predicts the size of an artifact: its weights at their width, and what each format adds per op.

Constants: least squares (non-negative) over the 9 nets of benchmarks/measure_artifacts.py (0.4 to 11 MB, 19
to 100 ops), exported in November 2026 by this project's exporters with executorch 1.4.1 (XNNPACK),
litert-torch 0.10.0, torch.onnx of torch 2.13.0 and coremltools 9.0 (ML Program, iOS17, fp16). The sizes are
kept in benchmarks/results; above 1 MB the prediction is within 1 % of every one. The overheads were measured
at fp32 (Core ML: fp16) and are taken as they are for the other precisions; docs/explanation/costs.md says how
far that is off.
"""

from __future__ import annotations

from dataclasses import dataclass

from prunnet.cost.graph import WEIGHTED, CostGraph
from prunnet.cost.width import Width
from runtime_py.bundle.manifest import Target


@dataclass(frozen=True)
class Storage:
    """Bytes that a format adds to the weights."""

    base: int
    per_weighted_op: int
    """For each convolution or matrix product: names, quantisation and buffer tables, source locations."""
    per_other_op: int


STORAGE: dict[Target, Storage] = {
    "executorch": Storage(base=2_070, per_weighted_op=600, per_other_op=760),
    "tflite": Storage(base=0, per_weighted_op=2_370, per_other_op=370),
    "onnx": Storage(base=5_740, per_weighted_op=120, per_other_op=0),
    "executorch-coreml": Storage(base=17_430, per_weighted_op=1_590, per_other_op=0),
    "coreml": Storage(base=14_700, per_weighted_op=1_110, per_other_op=0),
}


def artifact_bytes(graph: CostGraph, target: Target, width: Width) -> int:
    """Return the predicted bytes of the artifact (file or folder).

    Zeros count like any other weight, save in Core ML, which leaves them out.

    Args:
        graph: Fused cost graph.
        target: Format of the artifact.
        width: Bytes per element at the precision.
    """
    storage = STORAGE[target]
    weighted = sum(op.kind in WEIGHTED for op in graph.ops)
    overhead = (
        storage.base + storage.per_weighted_op * weighted + storage.per_other_op * (len(graph.ops) - weighted)
    )
    return sum(width.of_file(op) for op in graph.ops) + overhead
