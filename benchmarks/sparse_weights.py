"""What does a runtime gain from zeros inside tensors (granularity `weight`)? Bytes, and times in turns, as ratios.

Networks whose smallest weights are set to zero in each layer, exported by every target's exporter. For Core ML: bytes,
in each precision. For the others: of one network in the default precision, bytes and time as shares of the dense one's.

    python -m benchmarks.sparse_weights benchmarks/results/sparse_weights.json --part coreml
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.measure_artifacts import PREPROCESSING, SIDE, nets
from exporters.quiet import quiet
from exporters.targets.registry import TARGETS, as_target, get_exporter
from exporters.targets.spec import Artifact, ExportSpec, Twin
from exporters.timing import interleave, one_core
from prunnet.encoder.encoder import Encoder
from prunnet.profile import OFFERED
from runtime_py.backends import APPLE_ONLY, open_backend
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Precision

NET = "conv88"
"""2.4 million parameters."""
TIMM = ("resnet18", "mobilenetv2_100")
"""Untrained; their bytes are measured too."""
ZEROS = (0.5, 0.8, 0.9)
ROUNDS = 9


def zeros_of(module: nn.Module, share: float) -> dict[str, int]:
    """Return how many weights of each convolution and linear layer are to be masked, by name."""
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {f"{name}.weight": int(share * layer.weight.numel()) for name, layer in layers.items()}


def network(name: str) -> nn.Module:
    """Return a network in eval mode: float32 [1, 3, SIDE, SIDE] in."""
    if name not in TIMM:
        return nets()[name]
    torch.manual_seed(0)
    return Encoder.from_timm(name, dimension=256, image_size=(SIDE, SIDE), options={}).eval()


def masked(name: str, share: float) -> nn.Module:
    """Return the network with this share of each layer's weights set to zero, the smallest first."""
    module = network(name)
    with torch.no_grad():
        for layer, zeros in zeros_of(module, share).items():
            weight = module.get_parameter(layer)
            weight.view(-1)[weight.abs().flatten().argsort()[:zeros]] = 0
    return module


def converted(name: str, target: str, share: float, folder: Path) -> Iterator[tuple[Precision, Artifact]]:
    """Convert the masked network in each precision of Core ML, or in another target's default one."""
    exporter, module, twin = get_exporter(target), masked(name, share), None
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    identity = Identity(name, "0" * 64, 1.0, 256, "0.1.0")
    offered = OFFERED[as_target(target)]
    for precision in offered if target == "coreml" else offered[:1]:
        within = folder / precision
        within.mkdir(parents=True)
        spec = ExportSpec(identity, PREPROCESSING, precision, images)
        with quiet(Path(os.devnull)):
            artifact = exporter.convert(module, spec, within, twin)
        twin = twin or Twin(artifact, precision)
        yield precision, artifact


def stored() -> list[dict[str, object]]:
    """Return the bytes of Core ML's packages, dense and masked."""
    rows: list[dict[str, object]] = []
    for name in (NET, *TIMM):
        for zeros in (0.0, *ZEROS):
            with tempfile.TemporaryDirectory() as scratch:
                for precision, artifact in converted(name, "coreml", zeros, Path(scratch)):
                    rows.append({"net": name, "precision": precision, "zeros": zeros, "bytes": artifact.size})
                    print(rows[-1], flush=True)
    return rows


def measure(target: str) -> list[dict[str, object]]:
    """Compare every share of zeros with the dense network, on one core."""
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch, one_core():
        made = []
        for zeros in (0.0, *ZEROS):
            ((_, artifact),) = converted(NET, target, zeros, Path(scratch) / str(zeros))
            made.append(artifact)
        runs = [open_backend(as_target(target), a.path, a.input, a.output).run for a in made]
        for zeros, artifact, run in zip(ZEROS, made[1:], runs[1:], strict=True):
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
    parser.add_argument("--part", choices=["coreml", "runtimes"], required=True)
    arguments = parser.parse_args()
    out = arguments.out
    known = json.loads(out.read_text()) if out.exists() else {}
    timed = (target for target in TARGETS if target not in APPLE_ONLY)
    rows = stored() if arguments.part == "coreml" else [row for each in timed for row in measure(each)]
    out.write_text(json.dumps({**known, arguments.part: rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
