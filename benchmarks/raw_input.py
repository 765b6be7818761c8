"""What would an artifact cost that takes a camera's picture and resizes it itself? 640 x 480 to 48 x 48.

    python -m benchmarks.raw_input
    python -m benchmarks.raw_input --page

A resize of fixed sizes is two products with constant matrices, here of Pillow's filter coefficients. First, how close
that comes to Pillow's pixels and to the embeddings of them; then the built-in encoder at capacity 0.2 with such a
resize in front, exported, beside the one without: bytes, time in turns on one core, and embeddings.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.page import DOCS, Rows, measured, put
from benchmarks.resize_faults import CAPACITY, STORED, views
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from exporters.timing import interleave, one_core
from prunnet.package.load import load_encoder
from runtime_py.backends import open_backend
from runtime_py.bundle.manifest import Precision, Target
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import resize
from runtime_py.retrieval.metrics import row_cosines

PAGE = DOCS / "decisions" / "raw_input.md"
COMMAND = "python -m benchmarks.raw_input --page"
RESULTS = Path(__file__).parent / "results" / "raw_input.json"

VIEWS, CALIBRATION, ROUNDS = 64, 24, 15
EXPORTS: tuple[tuple[Target, Precision], ...] = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("tflite", "fp32"),
    ("tflite", "int8"),
    ("executorch", "fp32"),
    ("executorch", "int8"),
)
Matrix = np.ndarray[Any, Any]


def triangle(distance: float) -> float:
    """Return the bilinear filter's weight at a distance in pixels of the smaller picture."""
    return max(0.0, 1 - abs(distance))


def cubic(distance: float) -> float:
    """Return the bicubic filter's (a = -0.5, as Pillow's)."""
    x = abs(distance)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


FILTERS: dict[Literal["bilinear", "bicubic"], tuple[Callable[[float], float], int]] = {
    "bilinear": (triangle, 1),
    "bicubic": (cubic, 2),
}
"""Filter -> its weights, and how far they reach."""


def matrix(before: int, after: int, weight: Callable[[float], float], reach: int) -> Matrix:
    """Return float64 [after, before], one axis of the antialiased resize; each row adds up to 1."""
    ratio = before / after
    scale = max(ratio, 1.0)
    rows = np.zeros((after, before))
    for row in range(after):
        centre = (row + 0.5) * ratio
        first, end = max(0, int(centre - reach * scale + 0.5)), min(before, int(centre + reach * scale + 0.5))
        rows[row, first:end] = [weight((at - centre + 0.5) / scale) for at in range(first, end)]
    return rows / rows.sum(1, keepdims=True)


def bounded(values: Matrix) -> Matrix:
    """Round to whole levels in 0..255, as Pillow does after each axis."""
    return np.round(values.clip(0, 255))


class WithResize(nn.Module):
    """The encoder behind a bilinear resize: float32 [1, 3, 480, 640] in 0..255."""

    def __init__(self, encoder: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.encoder = encoder
        down, across = (matrix(a, b, *FILTERS["bilinear"]) for a, b in zip(STORED, size, strict=True))
        self.down, self.across = (nn.Buffer(torch.tensor(each).float()) for each in (down, across.T.copy()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.encoder(torch.matmul(self.down, torch.matmul(image, self.across)))
        return embedding


def differences() -> Iterator[dict[str, Any]]:
    """Yield how close each way comes to Pillow; the worse of two capacities."""
    package, pictures = load_encoder("glyphs"), views(VIEWS)
    size = package.preprocessing.height, package.preprocessing.width
    networks = [package.subnetwork(capacity).eval() for capacity in (CAPACITY, 1.0)]
    source = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float64)
    for name, kernel in FILTERS.items():
        framing = Framing(height=size[0], width=size[1], resize=Resize(filter=name))
        wanted = np.stack([resize(each, framing) for each in pictures]).transpose(0, 3, 1, 2)
        down, across = (matrix(a, b, *kernel) for a, b in zip(STORED, size, strict=True))
        plain = down @ (source @ across.T)
        ways = {
            "no rounding": plain,
            "cut to 0..255 at the end": plain.clip(0, 255),
            "cut and rounded after each axis": bounded(down @ bounded(source @ across.T)),
        }
        for way, pixels in ways.items():
            apart = np.abs(pixels - wanted)
            cosines = [row_cosines(_embedded(n, pixels), _embedded(n, wanted)) for n in networks]
            yield {
                "filter": name,
                "way": way,
                "levels": [float(apart.max()), float(apart.mean())],
                "distance": [
                    max(1 - float(c.min()) for c in cosines),
                    max(1 - float(c.mean()) for c in cosines),
                ],
            }


def _embedded(network: nn.Module, pixels: Matrix) -> Matrix:
    with torch.inference_mode():
        images = torch.from_numpy(pixels.astype(np.float32))
        return np.concatenate([network(image[None]).numpy() for image in images])


def exports() -> Iterator[dict[str, Any]]:
    """Yield each artifact without and with the resize."""
    package, pictures = load_encoder("glyphs"), np.stack(views(VIEWS))
    encoder, framing = package.subnetwork(CAPACITY).eval(), package.preprocessing
    small = np.stack([resize(each, framing) for each in pictures])
    raw = WithResize(encoder, framing.size).eval()
    for target, precision in EXPORTS:
        spec = ExportSpec.of(package, package.prunable.at(CAPACITY).achieved, precision)
        larger = framing.model_copy(update=dict(zip(("height", "width"), STORED, strict=True)))
        raw_spec = replace(spec, preprocessing=larger, calibration_images=pictures[:CALIBRATION])
        with tempfile.TemporaryDirectory() as folder, one_core():
            artifacts = []
            for module, of in ((encoder, spec), (raw, raw_spec)):
                within = Path(tempfile.mkdtemp(dir=folder))
                with quiet(Path(os.devnull)):
                    artifacts.append(get_exporter(target).convert(module, of, within))
            runs = [open_backend(target, a.path, a.input, a.output).run for a in artifacts]
            cosines = row_cosines(runs[1](pictures), runs[0](small))
            plain, resizing = interleave(
                [partial(runs[0], small[:1]), partial(runs[1], pictures[:1])], ROUNDS
            )
            sizes = [each.size for each in artifacts]
        yield {
            "target": target,
            "precision": precision,
            "bytes": sizes,
            "ms": [plain.median_ms, resizing.median_ms],
            "distance": [1 - float(cosines.min()), 1 - float(cosines.mean())],
        }


def as_page(rows: Rows) -> str:
    """Return both tables."""
    lines = [
        "| resize | difference from Pillow's pixels, levels: largest, mean | 1 - cosine: worst, mean |",
        "|---|---|---|",
    ]
    for row in rows["differences"]:
        (largest, level), (worst, mean) = row["levels"], row["distance"]
        lines.append(
            f"| {row['filter']}, {row['way']} | {largest:.2f}, {level:.2g} | {worst:.0e}, {mean:.0e} |"
        )
    lines += [
        "",
        "| artifact | bytes | time | 1 - cosine between the two: worst, mean |",
        "|---|---|---|---|",
    ]
    for row in rows["exports"]:
        (before, after), (plain, resizing), (worst, mean) = row["bytes"], row["ms"], row["distance"]
        lines.append(
            f"| {row['target']} {row['precision']} | {before:,} to {after:,} | {resizing / plain:.1f} times | "
            f"{worst:.0e}, {mean:.0e} |"
        )
    return "\n".join(lines)


def main() -> int:
    rows = measured(__doc__, {"differences": differences, "exports": exports}, RESULTS)
    put(PAGE, COMMAND, as_page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
