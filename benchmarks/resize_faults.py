"""How far do wrong resizes move embeddings? Views of unseen glyphs, 640 x 480 to 48 x 48, capacity 0.2.

    python -m benchmarks.resize_faults [--views 64]

The right embedding is that of the stated resize (bilinear, antialiased, stretched). Written to
`benchmarks/results/resize_faults.json` and to docs/guide/pictures.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter

from benchmarks.page import DOCS, put
from prunnet.data.glyphs import load_glyphs
from prunnet.data.source import step_generator
from prunnet.data.views import camera_views
from prunnet.encoder.embedding import embed
from prunnet.package.load import load_encoder
from runtime_py.arrays import Pixels
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import resize
from runtime_py.record import Record
from runtime_py.retrieval.metrics import row_cosines

COMMAND = "python -m benchmarks.resize_faults"
PAGE = DOCS / "guide" / "pictures.md"
RESULTS = Path(__file__).with_name("results") / "resize_faults.json"
CAPACITY, SEED = 0.2, 1
STORED = (480, 640)
"""(height, width) of the views, pixels."""


class Row(Record):
    """What one way of resizing gives."""

    way: str
    """What it does."""
    least: float
    """Smallest cosine with the right embedding."""
    mean: float
    """Mean of the same."""


def views(count: int) -> list[Pixels]:
    """Photograph unseen glyphs: uint8 [480, 640, 3] each."""
    glyphs = load_glyphs()
    rows = np.random.default_rng(SEED).permutation(glyphs.split()[1])[:count]
    drawn = camera_views(torch.from_numpy(glyphs.pictures[rows]), step_generator(SEED, SEED), STORED[1])
    return [resize(each, STORED) for each in drawn.permute(0, 2, 3, 1).byte().numpy()]


def ways(pictures: list[Pixels], size: tuple[int, int]) -> dict[str, Pixels]:
    """Bring the views to the input's size in every way: uint8 [N, H, W, 3] each."""

    def by(rule: Resize) -> Pixels:
        framing = Framing(height=size[0], width=size[1], resize=rule)
        return np.stack([resize(each, framing) for each in pictures])

    right = by(Resize())
    noise = np.random.default_rng(SEED).integers(-1, 2, right.shape)
    boxed = [np.asarray(Image.fromarray(each).resize(size[::-1], Image.Resampling.BOX)) for each in pictures]
    return {
        "right": right,
        "values off by up to one level": (right.astype(int) + noise).clip(0, 255).astype(np.uint8),
        "channels swapped": right[..., ::-1],
        "box filter (average of an area)": np.stack(boxed),
        "bicubic, antialiased": by(Resize(filter="bicubic")),
        "bilinear without antialias": by(Resize(antialias=False)),
        "centre crop": by(Resize(fit="crop")),
        "letterbox": by(Resize(fit="letterbox")),
        "a quarter turn (EXIF ignored)": np.rot90(right, axes=(1, 2)),
    }


def measure(count: int) -> list[Row]:
    """Embed everything, and compare."""
    package = load_encoder()
    module = package.subnetwork(CAPACITY)
    made = ways(views(count), package.preprocessing.size)
    embedded = {way: embed(module, np.ascontiguousarray(pixels)) for way, pixels in made.items()}
    right = embedded.pop("right")
    cosines = {way: row_cosines(each, right) for way, each in embedded.items()}
    return [Row(way=way, least=float(each.min()), mean=float(each.mean())) for way, each in cosines.items()]


def read() -> list[Row]:
    """Return the committed rows."""
    return TypeAdapter(list[Row]).validate_json(RESULTS.read_bytes())


def as_page(rows: list[Row]) -> str:
    """Return the table of the page."""
    lines = ["| what the app does | smallest cosine | mean |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.way} | {row.least:.4f} | {row.mean:.4f} |" for row in rows)])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="How far do wrong resizes move embeddings?")
    parser.add_argument("--views", type=int, default=64, help="views of glyphs (%(default)s)")
    rows = measure(parser.parse_args().views)
    RESULTS.write_text(json.dumps([row.model_dump() for row in rows], indent=1) + "\n")
    put(PAGE, COMMAND, as_page(rows))
    print(as_page(rows))


if __name__ == "__main__":
    main()
