"""What does a runtime gain from zeros inside tensors (granularity `weight`)? Sizes, and times in turns, as ratios.

One network of 2.4 million parameters, its smallest weights set to zero in each layer, exported by every target's
exporter in its default precision. Bytes and time are shares of the dense network's. Core ML is not timed off macOS.

    python -m benchmarks.sparse_weights benchmarks/results/sparse_weights.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.measure_artifacts import PREPROCESSING, SIDE, nets
from exporters.quiet import quiet
from exporters.targets.registry import TARGETS, as_target, get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from exporters.timing import interleave, one_core
from runtime_py.backends import open_backend
from runtime_py.bundle.identity import Identity

NET = "conv88"
ZEROS = (0.5, 0.8, 0.9)
ROUNDS = 9


def masked(zeros: float) -> nn.Module:
    """Return the network with this share of each weight tensor set to zero, the smallest first."""
    module = nets()[NET]
    with torch.no_grad():
        for weight in (each for each in module.parameters() if each.ndim > 1):
            smallest = weight.abs().flatten().argsort()[: int(zeros * weight.numel())]
            weight.view(-1)[smallest] = 0
    return module


def converted(target: str, zeros: float, folder: Path) -> Artifact:
    exporter = get_exporter(target)
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    spec = ExportSpec(
        Identity(NET, "0" * 64, 1.0, 256, "0.1.0"), PREPROCESSING, exporter.precisions[0], images
    )
    with quiet(Path(os.devnull)):
        return exporter.convert(masked(zeros), spec, folder)


def measure(target: str) -> list[dict[str, object]]:
    """Compare every share of zeros with the dense network, on one core."""
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch, one_core():
        made = []
        for zeros in (0.0, *ZEROS):
            folder = Path(scratch) / str(zeros)
            folder.mkdir()
            made.append(converted(target, zeros, folder))
        runs = [open_backend(as_target(target), a.path, a.input, a.output).run for a in made]
        for zeros, artifact, run in zip(ZEROS, made[1:], runs[1:], strict=True):
            ratio = None
            if target != "coreml":
                mine, dense = interleave([lambda run=run: run(image), lambda: runs[0](image)], ROUNDS)
                ratio = round(mine.median_ms / dense.median_ms, 3)
            bytes_ratio = round(artifact.size / made[0].size, 3)
            rows.append({"target": target, "zeros": zeros, "bytes_ratio": bytes_ratio, "time_ratio": ratio})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    rows = [row for target in TARGETS for row in measure(target)]
    out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
