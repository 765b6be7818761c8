"""Export small nets with the real exporters; record the size of each artifact and the memory that it takes.

`prunnet/cost/storage.py` and `prunnet/cost/memory.py` take their constants from these records; the last lines
printed are the least-squares fits. Run from the repository's root (half a minute a target):

    python -m benchmarks.measure_artifacts tflite benchmarks/results/artifacts_tflite.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from exporters.pipeline.memory import peak_memory_bytes
from exporters.targets.registry import TARGETS, get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.cost import trace
from prunnet.cost.graph import WEIGHTED
from prunnet.cost.width import WIDTHS, width_of
from runtime_py.backends import APPLE_ONLY
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Preprocessing
from tests.prunnet.cost.nets import AttentionEncoder, ConvEncoder, DepthwiseEncoder, settle

SIDE = 48
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "conv16": settle(ConvEncoder((16, 32, 64))),
        "conv40": settle(ConvEncoder((40, 80, 160))),
        "conv56": settle(ConvEncoder((56, 112, 224))),
        "conv88": settle(ConvEncoder((88, 176, 352))),
        "depthwise16": settle(DepthwiseEncoder(16)),
        "depthwise40": settle(DepthwiseEncoder(40)),
        "attention96": settle(AttentionEncoder(96)),
        "attention192": settle(AttentionEncoder(192)),
        "attention192x6": settle(AttentionEncoder(192, 6)),
    }


def measure(target: str, precision: str, name: str, module: nn.Module) -> dict[str, object]:
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    spec = ExportSpec(
        identity=Identity(name, "0" * 64, 1.0, 256, "0.1.0"),
        preprocessing=PREPROCESSING,
        precision=precision,
        calibration_images=images,
    )
    with tempfile.TemporaryDirectory() as scratch:
        artifact = get_exporter(target).convert(module, spec, Path(scratch))
        size, peak = artifact.size, peak_memory_bytes(target, artifact)
    graph, width = trace(module, (3, SIDE, SIDE)), width_of(target, precision)
    return {
        "net": name,
        "precision": precision,
        "bytes": size,
        "peak_bytes": peak,
        "parameters": graph.parameters,
        "weight_bytes": sum(width.of_weights(op) for op in graph.ops),
        "live_bytes": graph.peak_elements * width.activation,
        "ops": len(graph.ops),
        "weighted_ops": sum(op.kind in WEIGHTED for op in graph.ops),
    }


def fit(records: list[dict[str, object]]) -> None:
    from scipy.optimize import nnls

    figures = [key for key in records[0] if key not in ("net", "precision")]
    column = {key: np.array([float(record[key] or 0) for record in records]) for key in figures}
    ones = np.ones(len(records))
    overhead = column["bytes"] - column["weight_bytes"]
    ops = np.stack([ones, column["weighted_ops"], column["ops"] - column["weighted_ops"]], 1)
    storage, _ = nnls(ops, overhead)
    print("storage: base, per weighted op, per other op", storage.round())
    print("  error", ((column["weight_bytes"] + ops @ storage) / column["bytes"] - 1).round(4))
    if column["peak_bytes"].any():
        parts = np.stack([column["bytes"], column["live_bytes"], ones], 1)
        scale = 1 / column["peak_bytes"]
        memory, _ = nnls(parts * scale[:, None], ones)
        print("memory: copies, activations, workspace", memory.round(3))
        print("  error", (parts @ memory * scale - 1).round(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", choices=sorted(WIDTHS))
    arguments = parser.parse_args()
    precision = arguments.precision or ("fp16" if arguments.target in APPLE_ONLY else "fp32")
    records = []
    for name, module in nets().items():
        records.append(measure(arguments.target, precision, name, module))
        print(records[-1], flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(records, indent=1) + "\n")
    fit(records)


if __name__ == "__main__":
    main()
