"""What does an artifact cost that takes a camera's picture and resizes it itself? 640 x 480 to 48 x 48.

    python -m benchmarks.raw_input
    python -m benchmarks.raw_input --page

First, how close the resize of `raw_input` comes to Pillow's pixels and to the embeddings of them; then the built-in
encoder at capacity 0.2 with it, exported, beside the one without: bytes, time in turns on one core, and embeddings.
Pillow's own resize takes its turns too: an app without `raw_input` pays for one outside. Last, the peak memory of both,
from which `prunnet.cost.memory.FRAMES` is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from benchmarks.page import DOCS, Rows, measured, put
from benchmarks.resize_faults import CAPACITY, STORED, views
from exporters.pipeline.memory import peak_memory_bytes
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from exporters.timing import interleave, one_core
from prunnet.encoder.embedding import embed
from prunnet.encoder.raw_input import RawInput
from prunnet.package.load import load_encoder
from runtime_py.backends import open_backend
from runtime_py.bundle.manifest import Precision, Target
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import resize
from runtime_py.retrieval.metrics import row_cosines

PAGE = DOCS / "decisions" / "raw_input.md"
COMMAND = "python -m benchmarks.raw_input --page"
RESULTS = Path(__file__).parent / "results" / "raw_input.json"

VIEWS, ROUNDS = 64, 15
EXPORTS: tuple[tuple[Target, Precision], ...] = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("tflite", "fp32"),
    ("tflite", "int8"),
    ("executorch", "fp32"),
    ("executorch", "int8"),
)
FILTERS: tuple[Literal["bilinear", "bicubic"], ...] = ("bilinear", "bicubic")


def differences() -> Iterator[dict[str, Any]]:
    """Yield how close each filter comes to Pillow; the worse of two capacities."""
    package, pictures = load_encoder("glyphs"), np.stack(views(VIEWS))
    height, width = package.preprocessing.size
    networks = [package.subnetwork(capacity).eval() for capacity in (CAPACITY, 1.0)]
    for name in FILTERS:
        framing = Framing(height=height, width=width, resize=Resize(filter=name))
        raw = RawInput(STORED, framing)
        pixels = embed(raw.before(nn.Identity()), pictures, 1).transpose(0, 2, 3, 1)
        wanted = np.stack([resize(each, framing) for each in pictures])
        apart = np.abs(pixels - wanted)
        cosines = [
            row_cosines(embed(raw.before(network).eval(), pictures, 1), embed(network, wanted))
            for network in networks
        ]
        yield {
            "filter": name,
            "levels": [float(apart.max()), float(apart.mean())],
            "distance": [
                max(1 - float(each.min()) for each in cosines),
                max(1 - float(each.mean()) for each in cosines),
            ],
        }


@contextmanager
def converted(target: Target, precision: Precision) -> Iterator[list[Artifact]]:
    """Convert the built-in encoder without and with the resize."""
    package = load_encoder("glyphs")
    encoder = package.subnetwork(CAPACITY).eval()
    raw = RawInput(STORED, package.prunable.framing).before(encoder).eval()
    with tempfile.TemporaryDirectory() as folder, one_core():
        artifacts = []
        for module, frame in ((encoder, None), (raw, STORED)):
            within = Path(tempfile.mkdtemp(dir=folder))
            with quiet(Path(os.devnull)):
                spec = ExportSpec.of(package, package.achieved(CAPACITY), precision, frame)
                artifacts.append(get_exporter(target).convert(module, spec, within))
        yield artifacts


def exports() -> Iterator[dict[str, Any]]:
    """Yield each artifact without and with the resize."""
    framing, pictures = load_encoder("glyphs").preprocessing, np.stack(views(VIEWS))
    small = np.stack([resize(each, framing) for each in pictures])
    for target, precision in EXPORTS:
        with converted(target, precision) as artifacts:
            runs = [open_backend(target, a.path, a.input, a.output).run for a in artifacts]
            cosines = row_cosines(runs[1](pictures), runs[0](small))
            timings = interleave(
                [
                    partial(runs[0], small[:1]),
                    partial(runs[1], pictures[:1]),
                    partial(resize, pictures[0], framing),
                ],
                ROUNDS,
            )
            sizes = [each.size for each in artifacts]
        yield {
            "target": target,
            "precision": precision,
            "bytes": sizes,
            "ms": [each.median_ms for each in timings],
            "distance": [1 - float(cosines.min()), 1 - float(cosines.mean())],
        }


def memory() -> Iterator[dict[str, Any]]:
    """Yield the peak memory of each artifact without and with the resize, bytes."""
    for target, precision in EXPORTS:
        with converted(target, precision) as artifacts:
            peaks = [peak_memory_bytes(target, each) for each in artifacts]
        yield {"target": target, "precision": precision, "bytes": peaks}


def frames_held(row: dict[str, Any]) -> float:
    """Return how many frames in float32 the difference is."""
    before, after = row["bytes"]
    return float((after - before) / (STORED[0] * STORED[1] * 3 * 4))


def as_page(rows: Rows) -> str:
    """Return both tables."""
    lines = [
        "| resize | difference from Pillow's pixels, levels: largest, mean | 1 - cosine: worst, mean |",
        "|---|---|---|",
    ]
    for row in rows["differences"]:
        (largest, level), (worst, mean) = row["levels"], row["distance"]
        lines.append(f"| {row['filter']} | {largest:.2f}, {level:.2g} | {worst:.0e}, {mean:.0e} |")
    lines += [
        "",
        "| artifact | bytes | time, resize inside | time, Pillow's outside | 1 - cosine: worst, mean |",
        "|---|---|---|---|---|",
    ]
    for row in rows["exports"]:
        (before, after), (plain, resizing, pillow) = row["bytes"], row["ms"]
        worst, mean = row["distance"]
        lines.append(
            f"| {row['target']} {row['precision']} | {before:,} to {after:,} | {resizing / plain:.1f} times | "
            f"{(plain + pillow) / plain:.1f} times | {worst:.0e}, {mean:.0e} |"
        )
    lines += ["", "| artifact | peak memory, MB | difference, frames in float32 |", "|---|---|---|"]
    for row in rows["memory"]:
        before, after = (each / 1e6 for each in row["bytes"])
        lines.append(
            f"| {row['target']} {row['precision']} | {before:.1f} to {after:.1f} | {frames_held(row):.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parts = {"differences": differences, "exports": exports, "memory": memory}
    rows = measured(__doc__, parts, RESULTS)
    put(PAGE, COMMAND, as_page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
