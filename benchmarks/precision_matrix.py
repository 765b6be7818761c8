"""What does each precision cost and save? Every target, every precision it offers, six encoders, two capacities.

    python -m benchmarks.precision_matrix [--targets T ...] [--encoders E ...] [--retry]
    python -m benchmarks.precision_matrix --page

The built-in encoder retrieves 8,035 pictures that it has never seen. The others are untrained, with BatchNorm
statistics of real pictures: of them no closeness to the dense network is asked, and retrieval is that of the probes.
Each artifact is judged as an export is. Time is the ratio of one call to that of the float artifact of the same module,
one core, in turns; the program that stands in for Core ML off macOS is not timed. What has a result is not run again,
unless it is an error and `--retry` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from benchmarks.drift_honest import UNTRAINED, Encoders
from benchmarks.page import DOCS, put
from exporters.pipeline.conversion import convert_and_verify
from exporters.quiet import quiet
from exporters.targets.registry import TARGETS, as_target
from exporters.targets.spec import Artifact, ExportSpec
from exporters.timing import interleave, one_core
from prunnet.data import open_test_pictures
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.evaluate.leave_one_out import LeaveOneOut
from prunnet.package.metadata import preprocessing_of
from prunnet.profile import OFFERED
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.backends import APPLE_ONLY, open_backend
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Precision, Preprocessing, Target
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.errors import PrunnetError

PAGE = DOCS / "reference" / "precisions.md"
COMMAND = "python -m benchmarks.precision_matrix --page"
RESULTS = Path(__file__).parent / "results" / "precision_matrix.json"
BUILT_IN = "glyphs"
FAMILIES = ("resnet18", "mobilenetv2_100", "mobilenetv4_conv_small", "convnext_atto", "vit_tiny_patch16_224")
CAPACITIES = (1.0, 0.2)
ROUNDS = 7


@dataclass(frozen=True)
class Cell:
    """One artifact, or why there is none."""

    encoder: str
    target: str
    precision: str
    capacity: float
    error: str = ""
    """Empty if it was made and judged."""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    bytes: int = 0
    share: float | None = None
    """Of the float twin's bytes."""
    latency_ratio: float | None = None
    """Of the float twin's time for one picture."""
    conversion: float = 0.0
    """1 - cosine of the float artifact with torch, at the worst probe."""
    compression: float = 0.0
    """1 - cosine of the artifact with the fp32 subnetwork in torch, mean over the probes."""
    compression_worst: float = 0.0
    """The same at the worst probe."""
    recall_change: float = 0.0
    """Recall@1 of its queries in the dense gallery minus that of the fp32 subnetwork's, in points."""
    map_change: float = 0.0
    """The same for mean average precision."""
    queries: int = 0

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What was asked for."""
        return self.encoder, self.target, self.precision, self.capacity


@dataclass(frozen=True)
class Subject:
    """One subnetwork and everything that is held against it."""

    name: str
    capacity: float
    module: nn.Module
    probes: Probes
    preprocessing: Preprocessing
    calibration: np.ndarray


class Subjects:
    """Makes the subnetworks, each once, and the pictures that they retrieve."""

    def __init__(self) -> None:
        self.encoders = Encoders()
        self._retrieval: dict[tuple[str, float], tuple[np.ndarray, LeaveOneOut, np.ndarray, np.ndarray]] = {}

    def of(self, name: str, capacity: float) -> Subject:
        glyphs = self.encoders.glyphs
        if name == BUILT_IN:
            dense, module = glyphs.subnetwork(1.0), glyphs.subnetwork(capacity)
            preprocessing, achieved = glyphs.preprocessing, glyphs.prunable.at(capacity).achieved
        else:
            encoder = self._untrained(name)
            prunable = PrunableEncoder(encoder)
            cut = prunable.at(capacity)
            dense, module, achieved = encoder, cut.extract(), cut.achieved
            reestimate(module, torch.from_numpy(glyphs.probes.calibration))
            preprocessing = preprocessing_of(encoder)
        module.eval()
        images, pictures = glyphs.probes.images, self.encoders.pictures
        parity = Parity(pictures, embed(dense, pictures), embed(module, pictures))
        probes = Probes(images, glyphs.probes.labels, embed(dense, images), embed(module, images), parity)
        return Subject(name, achieved, module, probes, preprocessing, glyphs.probes.calibration)

    def retrieval(self, subject: Subject) -> tuple[np.ndarray, LeaveOneOut, np.ndarray, np.ndarray]:
        """Return pictures, the protocol, the dense gallery and the fp32 subnetwork's queries."""
        key = (subject.name, subject.capacity)
        if key not in self._retrieval:
            if subject.name == BUILT_IN:
                size = (subject.preprocessing.height, subject.preprocessing.width)
                test = open_test_pictures(BUILT_IN, size)
                images, labels = test.images, test.labels
                dense = embed(self.encoders.glyphs.subnetwork(1.0), images)
                queries = embed(subject.module, images)
            else:
                probes = subject.probes
                images, labels, dense, queries = probes.images, probes.labels, probes.dense, probes.subnetwork
            self._retrieval[key] = (images, LeaveOneOut(labels), dense, queries)
        return self._retrieval[key]

    def _untrained(self, name: str) -> Encoder:
        torch.manual_seed(0)
        pre = self.encoders.glyphs.preprocessing
        encoder = Encoder.from_timm(name, dimension=64, image_size=(pre.height, pre.width), options={})
        for part in encoder.modules():  # timm starts some blocks at zero, which converters fold away
            if isinstance(part, nn.BatchNorm2d):
                part.weight.data.uniform_(0.5, 1.5)
        reestimate(encoder, torch.from_numpy(self.encoders.glyphs.probes.calibration))
        return encoder.eval()


def measure(subjects: Subjects, subject: Subject, asked: float, target: Target, precision: Precision) -> Cell:
    """Export one cell and judge it; an error of ours becomes part of it."""
    cell = Cell(subject.name, target, precision, asked)
    identity = Identity(
        subject.name, "matrix", subject.capacity, subject.probes.dimension, metadata.version("prunnet")
    )
    spec = ExportSpec(identity, subject.preprocessing, precision, subject.calibration)
    tolerances = TABLE[precision]
    if subject.name != BUILT_IN:
        nothing_asked = {**UNTRAINED, "min_closeness": 0.0, "min_own_picture": 0.0}
        tolerances = tolerances.model_copy(update=nothing_asked)
    with tempfile.TemporaryDirectory() as scratch, quiet(Path(os.devnull)):
        try:
            artifact, verified = convert_and_verify(
                target, subject.module, spec, subject.probes, tolerances, Path(scratch)
            )
        except PrunnetError as error:
            return replace(cell, error=f"{type(error).__name__}: {error}")
        drift = verified.drift
        figures = drift.figures
        assert figures is not None
        twin = artifact.twin
        exact = figures if drift.twin is None else drift.twin.figures
        images, protocol, dense, known = subjects.retrieval(subject)
        backend = open_backend(target, artifact.path, artifact.input, artifact.output)
        mine, theirs = protocol.measure(backend.run(images), dense), protocol.measure(known, dense)
        return replace(
            cell,
            verdict=drift.verdict,
            reasons=drift.reasons,
            bytes=artifact.size,
            share=None if twin is None else artifact.size / twin.artifact.size,
            latency_ratio=_ratio(target, artifact, images[:1]),
            conversion=1 - exact.min_cosine,
            compression=1 - figures.mean_cosine,
            compression_worst=1 - figures.min_cosine,
            recall_change=mine.recall_at_1 - theirs.recall_at_1,
            map_change=mine.map - theirs.map,
            queries=len(images),
        )


def _ratio(target: Target, artifact: Artifact, image: np.ndarray) -> float | None:
    if artifact.twin is None or target in APPLE_ONLY:
        return None
    with one_core():
        runs = [
            open_backend(target, each.path, each.input, each.output).run
            for each in (artifact, artifact.twin.artifact)
        ]
        mine, theirs = interleave([lambda run=run: run(image) for run in runs], ROUNDS)
    return mine.median_ms / theirs.median_ms


def wanted(targets: list[str], encoders: list[str]) -> Iterator[tuple[str, float, Target, Precision]]:
    """Yield encoder, capacity, target and precision of every cell."""
    for encoder in encoders:
        for capacity in CAPACITIES:
            for name in targets:
                for precision in OFFERED[as_target(name)]:
                    yield encoder, capacity, as_target(name), precision


def read() -> list[Cell]:
    """Return the committed cells."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    cells = [Cell(**{**row, "reasons": tuple(row["reasons"])}) for row in rows]
    encoders, targets = [BUILT_IN, *FAMILIES], list(TARGETS)
    return sorted(
        cells,
        key=lambda cell: (encoders.index(cell.encoder), -cell.capacity, targets.index(cell.target)),
    )


def as_page(cells: list[Cell]) -> str:
    """Return the tables, one for each encoder."""
    lines: list[str] = []
    for name in dict.fromkeys(cell.encoder for cell in cells):
        mine = [cell for cell in cells if cell.encoder == name]
        queries = max(cell.queries for cell in mine)
        lines += [
            f"### {name}",
            "",
            f"Recall@1 and mAP of {queries:,} queries.",
            "",
            "| target | precision | capacity | verdict | bytes | of float | time of float | conversion | compression "
            "| worst | Recall@1 | mAP |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(cell) for cell in mine]
        lines.append("")
    return "\n".join(lines)


def _line(cell: Cell) -> str:
    start = f"| {cell.target} | {cell.precision} | {cell.capacity:g} |"
    if cell.error:
        return f"{start} none: {_short(cell.error)} | | | | | | | | |"
    names = ", ".join(dict.fromkeys(reason.split(" ", 1)[0] for reason in cell.reasons))
    verdict = cell.verdict if not names else f"{cell.verdict}: {names}"
    share, ratio = ("" if x is None else f"{x:.2f}" for x in (cell.share, cell.latency_ratio))
    return (
        f"{start} {verdict} | {cell.bytes:,} | {share} | {ratio} | {cell.conversion:.0e} | {cell.compression:.1e} | "
        f"{cell.compression_worst:.1e} | {cell.recall_change:+.2f} | {cell.map_change:+.2f} |"
    )


def _short(text: str, most: int = 120) -> str:
    plain = " ".join(text.replace("|", "/").split())
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--encoders", nargs="+", default=[BUILT_IN, *FAMILIES], choices=[BUILT_IN, *FAMILIES])
    parser.add_argument("--retry", action="store_true", help="run again what ended with an error")
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from the results")
    options = parser.parse_args()
    cells = {cell.key: cell for cell in read()}
    subjects, subject, made = None, None, None
    for encoder, capacity, target, precision in (
        [] if options.page else wanted(options.targets, options.encoders)
    ):
        key = (encoder, target, precision, capacity)
        if key in cells and not (options.retry and cells[key].error):
            continue
        subjects = subjects or Subjects()
        if made != (encoder, capacity):
            subject, made = subjects.of(encoder, capacity), (encoder, capacity)
        started = time.monotonic()
        cells[key] = measure(subjects, cast("Subject", subject), capacity, target, precision)
        print(f"{time.monotonic() - started:5.0f} s  {_line(cells[key])}", flush=True)
        RESULTS.write_text(json.dumps([asdict(cell) for cell in cells.values()], indent=1) + "\n")
    put(PAGE, COMMAND, as_page(read()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
