"""Which faults do the gates catch? Every fault, on every target, at several capacities of an encoder.

    python -m benchmarks.drift_faults [--targets onnx tflite ...] [--capacities 1.0 0.5 0.2] [--faults NAME ...]
                                      [--quick] [--quantised] [--json FILE] [--page]
    python -m benchmarks.drift_faults --merge FILE ... [--json FILE] [--page]

Each fault is made as a faulty exporter would make it, and judged by
`exporters.pipeline.verification.verify`, as an export is:

* converted: the faulty network is converted and its artifact verified (on ONNX every fault, unless `--quick`; elsewhere
  those of `CONVERTED`);
* torch: the embeddings that the faulty network gives in torch are judged as if they were the artifact's (the other
  faults of the network, elsewhere);
* pictures: the right artifact embeds pictures with the fault in their pixels (the other input faults elsewhere);
* upstream: both the artifact and its torch reference come from the faulty network, so that parity sees nothing
  (ONNX); closeness and compatibility must;
* reference: a right artifact with faulty probes.

The last line of each row is the honest artifact, which must be compatible. Exit code 1 if a fault passed, or an honest
artifact did not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from benchmarks.drift_table import Row, as_page, read_rows
from benchmarks.faults import NETWORK_FAULTS, Before, input_faults, reference_faults
from benchmarks.page import DOCS, put
from exporters.errors import ExportError
from exporters.pipeline.expectation import held_against_curve
from exporters.pipeline.verification import verify, with_twin
from exporters.quiet import quiet
from exporters.targets.base import stage
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.embedding import embed
from prunnet.package.curve import read_curve
from prunnet.package.load import load_encoder
from prunnet.package.package import EncoderPackage
from prunnet.tensors import as_batch
from runtime_py.backends import Backend, open_backend
from runtime_py.bundle.manifest import DriftRecord, Precision, Target
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE, is_quantised
from runtime_py.check.drift import Embed, examine, measure
from runtime_py.check.parity_pictures import parity_pictures

PAGE = DOCS / "research" / "faults.md"
COMMAND = "python -m benchmarks.drift_faults --merge benchmarks/results/drift_faults.json --page"

PRECISION: dict[str, Precision] = {
    "onnx": "fp32",
    "tflite": "fp32",
    "executorch": "fp32",
    "coreml": "fp16",
    "executorch-coreml": "fp16",
}
"""What each target ships by default."""

QUANTISED: dict[str, Precision] = {
    "onnx": "int8",
    "tflite": "int8",
    "executorch": "int8",
    "coreml": "int8-weights",
}
"""What `--quantised` tries instead."""

RANGES: dict[str, Callable[[np.ndarray[Any, np.dtype[np.uint8]]], np.ndarray[Any, np.dtype[np.uint8]]]] = {
    "ranges of dark pictures": lambda images: images // 4,
    "ranges of pixels in 0..1": lambda images: images // 255,
    "ranges of one picture": lambda images: images[:1],
}
"""Faults of the pictures by which a quantised artifact's ranges are found; its float twin has none."""

CONVERTED = ("red and blue swapped", "pixels 2 too bright", "stale BatchNorm", "a layer scaled by 1.1")
"""Faults that are converted on every target, at the smallest capacity."""

UPSTREAM = (
    "stale BatchNorm",
    "channels of a layer permuted",
    "random weights",
    "last convolution lost",
    "dimensions reversed",
    "the same embedding for all",
)
"""Network faults that are also tried with their own embeddings as the reference."""


class Bench:
    """One subnetwork of the encoder with right probes, and everything that can be done wrong with it."""

    def __init__(
        self, package: EncoderPackage, capacity: float, precisions: dict[str, Precision] = PRECISION
    ) -> None:
        self.package, self.capacity, self.precisions = package, capacity, precisions
        self.module = package.subnetwork(capacity)
        self.dense = package.subnetwork(1.0)
        self.probes = self.reference(self.module)

    def reference(self, module: nn.Module) -> Probes:
        images, labels = self.package.probes.images, self.package.probes.labels
        pictures = parity_pictures(self.package.preprocessing.height, self.package.preprocessing.width)
        parity = Parity(pictures, embed(self.dense, pictures), embed(module, pictures))
        return Probes(images, labels, embed(self.dense, images), embed(module, images), parity)

    def spec(self, target: str) -> ExportSpec:
        return ExportSpec.of(
            self.package, self.package.prunable.at(self.capacity).achieved, self.precisions[target]
        )

    def convert(
        self, module: nn.Module, target: str, folder: Path, spec: ExportSpec | None = None
    ) -> Artifact:
        folder.mkdir()
        with quiet(Path(os.devnull)):
            return get_exporter(target).convert(module, spec or self.spec(target), folder)

    def judge_ranges(self, target: str, folder: Path, name: str) -> DriftRecord:
        spec = self.spec(target)
        spoiled = replace(spec, calibration_images=RANGES[name](spec.calibration_images))
        return self.judge(self.convert(self.module, target, folder, spoiled), target)

    def judge(self, artifact: Artifact, target: str, probes: Probes | None = None) -> DriftRecord:
        spec = self.spec(target)
        with quiet(Path(os.devnull)):
            tolerances = TABLE[spec.precision]
            record = verify(cast("Target", target), artifact, spec, probes or self.probes, tolerances).drift
        return self._held(record, spec.identity.capacity)

    def judge_network(
        self, module: nn.Module, target: str, folder: Path, probes: Probes | None = None
    ) -> DriftRecord:
        return self.judge(self.convert(module, target, folder), target, probes)

    def judge_embeddings(self, target: str, probes: Probes) -> DriftRecord:
        """Judge an artifact that embeds exactly as the reference of `probes` says."""
        assert probes.parity is not None
        synthetic, tolerances = np.array(probes.parity.subnetwork), TABLE[self.precisions[target]]
        record = measure(np.array(probes.subnetwork), probes, tolerances, "torch", synthetic=synthetic)
        capacity = self.package.prunable.at(self.capacity).achieved
        return self._held(record, capacity)

    def _held(self, record: DriftRecord, capacity: float) -> DriftRecord:
        curve = read_curve(self.package.metadata.metrics, "encoder.json")
        return held_against_curve(record, curve, capacity)[0]

    def judge_torch(self, module: nn.Module, target: str) -> DriftRecord:
        return self._judge_run(partial(embed, module), partial(embed, module), target)

    def _judge_run(self, run: Embed, twin: Embed, target: str) -> DriftRecord:
        """Judge what an artifact and its float twin embed, as verification does."""
        precision = self.precisions[target]
        record = examine(run, self.probes, TABLE[precision], target)
        if not is_quantised(precision):
            return record
        return with_twin(record, get_exporter(target).float_precision, target, twin, self.probes)

    def judge_pictures(
        self, artifact: Artifact, target: str, change: Callable[[torch.Tensor], torch.Tensor]
    ) -> DriftRecord:
        """Judge the right artifact on pictures with a fault in their pixels, rounded to whole values."""
        exact = artifact if artifact.twin is None else artifact.twin.artifact
        backends = [
            open_backend(cast("Target", target), each.path, each.input, each.output)
            for each in (artifact, exact)
        ]

        def spoiled(
            backend: Backend, images: np.ndarray[Any, np.dtype[np.uint8]]
        ) -> np.ndarray[Any, np.dtype[np.float32]]:
            pixels = change(as_batch(images))
            rounded = pixels.round().clamp(0, 255).permute(0, 2, 3, 1).contiguous().numpy()
            return backend.run(rounded.astype(np.uint8))

        run, twin = (partial(spoiled, backend) for backend in backends)
        return self._judge_run(run, twin, target)


def campaign(
    package: EncoderPackage,
    targets: list[str],
    capacities: list[float],
    say: Callable[[Row], None],
    quick: bool = False,
    only: Collection[str] = (),
    precisions: dict[str, Precision] = PRECISION,
) -> list[Row]:
    """Run everything; returns the rows in order, and says each as it comes. `quick` converts few faults on ONNX too."""
    rows: list[Row] = []
    for capacity in capacities:
        bench = Bench(package, capacity, precisions)
        for target in targets:
            with tempfile.TemporaryDirectory() as scratch:
                whole = target == "onnx" and not quick
                for fault, how, judge in _cases(
                    bench, target, Path(scratch), whole, capacity == min(capacities)
                ):
                    if only and fault not in only:
                        continue
                    rows.append(_row(fault, how, target, precisions[target], capacity, judge))
                    say(rows[-1])
    return rows


def _cases(
    bench: Bench, target: str, folder: Path, whole: bool, some: bool
) -> Iterator[tuple[str, str, Callable[[], DriftRecord]]]:
    """Yield fault, how it is made, and what judges it.

    Args:
        bench: The subnetwork.
        target: Where it is exported to.
        folder: Scratch.
        whole: Convert every fault; else, if `some`, those of `CONVERTED`.
        some: See `whole`.
    """
    of_input = input_faults(bench.package.preprocessing.mean, bench.package.preprocessing.std)
    networks: dict[str, nn.Module] = {
        n: Before(bench.module, change).eval() for n, change in of_input.items()
    }
    networks |= {name: make(bench.module) for name, make in NETWORK_FAULTS.items()}
    reestimate(networks["random weights"], torch.from_numpy(bench.package.probes.calibration))
    networks["random weights"].eval()
    right = bench.convert(bench.module, target, folder / "right")
    yield "none", "converted", partial(bench.judge, right, target)
    for number, (name, network) in enumerate(networks.items()):
        if whole or (some and name in CONVERTED):
            yield name, "converted", partial(bench.judge_network, network, target, folder / str(number))
        elif name in of_input:
            yield name, "pictures", partial(bench.judge_pictures, right, target, of_input[name])
        else:
            yield name, "torch", partial(bench.judge_torch, network, target)
    for number, name in enumerate(RANGES if bench.precisions[target] == "int8" else ()):
        yield name, "converted", partial(bench.judge_ranges, target, folder / f"ranges {number}", name)
    for name in UPSTREAM if target == "onnx" else ():
        probes = bench.reference(networks[name])
        if whole:
            place = folder / f"upstream {name}"
            yield name, "upstream", partial(bench.judge_network, networks[name], target, place, probes)
        else:
            yield name, "upstream", partial(bench.judge_embeddings, target, probes)
    other = embed(networks["random weights"], bench.package.probes.images)
    for name, spoil in reference_faults(other).items():
        yield name, "reference", partial(bench.judge, right, target, spoil(bench.probes))


def _row(
    fault: str,
    how: str,
    target: str,
    precision: Precision,
    capacity: float,
    judge: Callable[[], DriftRecord],
) -> Row:
    try:
        with stage(target, "verify"):
            record = judge()
        verdict, names = str(record.verdict), tuple(_gate(reason) for reason in record.reasons)
    except ExportError as error:
        verdict, names = "refused", (f"export.{error.stage}",)
    return Row(fault, how, target, precision, capacity, verdict, names)


def _gate(reason: str) -> str:
    return reason.split(" ", 1)[0] if "." in reason.split(" ", 1)[0] else "chance"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="glyphs")
    parser.add_argument(
        "--targets", nargs="+", choices=list(PRECISION), help="default: all that have such a precision"
    )
    parser.add_argument("--capacities", nargs="+", type=float, default=[1.0, 0.5, 0.2])
    parser.add_argument("--quick", action="store_true", help="convert few faults on ONNX too")
    parser.add_argument("--quantised", action="store_true", help="int8 (Core ML: int8-weights) instead")
    parser.add_argument("--faults", nargs="+", default=[], help="these alone")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--page", action="store_true", help="put the table into docs/research/faults.md")
    parser.add_argument(
        "--merge", nargs="+", type=Path, help="run nothing; take the rows of these JSON files"
    )
    options = parser.parse_args()
    if options.merge:
        return _finish(read_rows(options.merge), options)
    precisions = QUANTISED if options.quantised else PRECISION
    if absent := set(options.targets or ()) - set(precisions):
        parser.error(f"no quantised precision is tried on {', '.join(sorted(absent))}")
    started = time.monotonic()

    def say(row: Row) -> None:
        print(
            f"{time.monotonic() - started:6.0f} s  {row.target:10} {row.capacity:<4g} {row.how:9} {row.fault:38} "
            f"{row.verdict:14} {', '.join(row.gates)}",
            flush=True,
        )

    rows = campaign(
        load_encoder(options.encoder),
        options.targets or list(precisions),
        options.capacities,
        say,
        options.quick,
        options.faults,
        precisions,
    )
    return _finish(rows, options)


def _finish(rows: list[Row], options: argparse.Namespace) -> int:
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.page:
        put(PAGE, COMMAND, as_page(rows))
    wrong = [row for row in rows if row.wrong]
    print(f"{len(rows)} cases, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
