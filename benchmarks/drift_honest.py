"""Do the gates raise a false alarm? Honest exports over capacities, encoders, targets and channel multiples.

    python -m benchmarks.drift_honest [--quantised] [--most N] [--only TARGET] [--json FILE]
    python -m benchmarks.drift_honest --page

The built-in encoder is exported at many capacities. Networks of other families are exported dense and untrained, with
BatchNorm statistics of real pictures: they find little, so their parity and closeness alone are judged
(`UNTRAINED`). Every artifact must be `compatible`, unless its own network is not: each network is first judged in torch
by the same gates. One that retrieves too little there is refused rightly, whatever its export did; an alarm that the
network alone does not raise is a false one. `--quantised` exports the built-in encoder in int8 instead (Core ML: in
int8 weights), and adds to what is in the file. Printed with each: how far it is from the tolerances; the table in
`docs/reference/gates.md` rests on these figures. Exit code 1 at a false alarm. `--page` exports nothing: it puts the
committed figures into docs/research/faults.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from benchmarks.drift_faults import QUANTISED
from benchmarks.page import DOCS, put
from exporters.pipeline.expectation import held_against_curve
from exporters.pipeline.verification import verify
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.package.curve import read_curve
from prunnet.package.load import load_encoder
from prunnet.package.metadata import preprocessing_of
from prunnet.package.package import EncoderPackage
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Precision, Preprocessing, Target
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure
from runtime_py.check.parity_pictures import parity_pictures

PAGE = DOCS / "research" / "faults.md"
COMMAND = "python -m benchmarks.drift_honest --page"
RESULTS = Path(__file__).parent / "results" / "drift_honest.json"

FAMILIES = (
    "resnet10t",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "convnext_atto",
    "efficientnet_lite0",
    "mobilenetv4_conv_small_050",
    "repvgg_a0",
    "regnetx_002",
    "mnasnet_small",
    "semnasnet_075",
)
"""timm networks that are exported dense."""

UNTRAINED = {"max_recall_drop": 1.0, "max_map_drop": 1.0}
"""Tolerances of a network whose retrieval nobody trained."""

CAPACITIES = (1.0, 0.2, 0.5, 0.1, 0.7, 0.3, 0.85, 0.15, 0.4, 0.6, 0.9, 0.25)


@dataclass(frozen=True)
class Honest:
    """One right export and how it was judged; distances are 1 - cosine."""

    encoder: str
    target: str
    precision: str
    capacity: float
    multiple: int
    verdict: str
    reasons: tuple[str, ...]
    worst_distance: float
    mean_distance: float
    worst_synthetic_distance: float
    closeness: float
    map_drop: float
    own_reasons: tuple[str, ...] = ()
    """What the gates say of the network itself, in torch; the first 26 exports did not record it."""

    @property
    def false_alarm(self) -> bool:
        """Whether a gate fails that the network itself passes."""
        return bool(
            {_gate(reason) for reason in self.reasons} - {_gate(reason) for reason in self.own_reasons}
        )


def _gate(reason: str) -> str:
    return reason.split(" ", 1)[0]


@dataclass(frozen=True)
class Case:
    """What is exported where."""

    encoder: str
    target: str
    precision: Precision
    capacity: float = 1.0
    multiple: int = 8


def quantised_cases() -> Iterator[Case]:
    """Yield the built-in encoder in int8, the targets in turn, each at capacities spread over the whole range."""
    grid = np.random.default_rng(0).permutation([round(0.1 + 0.03 * step, 2) for step in range(31)]).tolist()
    for capacity in (*CAPACITIES[:3], *grid):
        yield from (Case("glyphs", target, precision, capacity) for target, precision in QUANTISED.items())


def cases() -> Iterator[Case]:
    """Yield the exports, the targets in turn, so that any first part is a fair sample."""
    others: list[tuple[str, Precision]] = [("tflite", "fp32"), ("executorch", "fp32"), ("coreml", "fp16")]
    slow = [Case("glyphs", t, p, c) for c in CAPACITIES[:7] for t, p in others]
    slow += [Case(name, t, p) for name, (t, p) in zip(FAMILIES, others * 2, strict=False)]
    grid = [round(0.1 + 0.02 * step, 2) for step in range(46)]
    fast = [Case("glyphs", "onnx", "fp32", c) for c in np.random.default_rng(0).permutation(grid).tolist()]
    fast += [Case("glyphs", "onnx", "fp32", c, m) for c in CAPACITIES[1:] for m in (1, 4)]
    fast[3:3] = [Case(name, "onnx", "fp32") for name in FAMILIES]
    for index, case in enumerate(fast):
        yield case
        if index % 3 == 0 and slow:
            yield slow.pop(0)
    yield from slow


class Encoders:
    """The built-in encoder and untrained networks, with the built-in encoder's pictures."""

    def __init__(self) -> None:
        self.glyphs: EncoderPackage = load_encoder("glyphs")
        pre = self.glyphs.preprocessing
        self.pictures = parity_pictures(pre.height, pre.width)

    def of(self, case: Case) -> tuple[nn.Module, Probes, Preprocessing, float]:
        """Return the network, its probes, its preprocessing and the capacity reached."""
        if case.encoder != "glyphs":
            module = self._untrained(case.encoder)
            return module, self._probes(module, module), preprocessing_of(module), 1.0
        module = self.glyphs.subnetwork(case.capacity, case.multiple)
        achieved = self.glyphs.prunable.at(case.capacity, case.multiple).achieved
        dense = self.glyphs.subnetwork(1.0)
        return module, self._probes(dense, module), self.glyphs.preprocessing, achieved

    def _probes(self, dense: nn.Module, module: nn.Module) -> Probes:
        images, labels = self.glyphs.probes.images, self.glyphs.probes.labels
        parity = Parity(self.pictures, embed(dense, self.pictures), embed(module, self.pictures))
        return Probes(images, labels, embed(dense, images), embed(module, images), parity)

    def _untrained(self, name: str) -> Encoder:
        torch.manual_seed(0)
        pre = self.glyphs.preprocessing
        encoder = Encoder.from_timm(name, dimension=64, image_size=(pre.height, pre.width), options={})
        for part in encoder.modules():  # timm starts some blocks at zero, which converters fold away
            if isinstance(part, nn.BatchNorm2d):
                part.weight.data.uniform_(0.5, 1.5)
        reestimate(encoder, torch.from_numpy(self.glyphs.probes.calibration))
        return encoder.eval()


def export(case: Case, encoders: Encoders, folder: Path) -> Honest:
    """Export one case and judge it as an exporter does."""
    module, probes, preprocessing, capacity = encoders.of(case)
    spec = ExportSpec(
        identity=Identity(case.encoder, "honest", capacity, probes.dimension, metadata.version("prunnet")),
        preprocessing=preprocessing,
        precision=case.precision,
        calibration_images=encoders.glyphs.probes.calibration,
    )
    target = cast("Target", case.target)
    tolerances = TABLE[case.precision]
    if case.encoder != "glyphs":
        tolerances = tolerances.model_copy(update=UNTRAINED)
    with quiet(Path(os.devnull)):
        artifact = get_exporter(target).convert(module, spec, folder)
        record = verify(target, artifact, spec, probes, tolerances).drift
    metrics: dict[str, Any] = encoders.glyphs.metadata.metrics if case.encoder == "glyphs" else {}
    curve = read_curve(metrics, "encoder.json")
    record, _ = held_against_curve(record, curve, capacity)
    assert probes.parity is not None
    synthetic = np.array(probes.parity.subnetwork)
    own = measure(np.array(probes.subnetwork), probes, tolerances, "torch", synthetic=synthetic)
    own, _ = held_against_curve(own, curve, capacity)
    figures = record.figures
    assert figures is not None and figures.closeness is not None and figures.synthetic_min_cosine is not None
    return Honest(
        encoder=case.encoder,
        target=case.target,
        precision=case.precision,
        capacity=capacity,
        multiple=case.multiple,
        verdict=record.verdict,
        reasons=record.reasons,
        worst_distance=1 - figures.min_cosine,
        mean_distance=1 - figures.mean_cosine,
        worst_synthetic_distance=1 - figures.synthetic_min_cosine,
        closeness=figures.closeness,
        map_drop=figures.map_dense - figures.map,
        own_reasons=own.reasons,
    )


def summary(rows: list[Honest]) -> str:
    """Return what the exports were and how far the worst of them is from its reference, as Markdown."""
    lines = [
        f"{_counts(rows)}: {len({row.encoder for row in rows})} encoders, targets "
        f"{', '.join(sorted({row.target for row in rows}))}.",
        "",
        "| precision | exports | largest 1 - cosine | on parity pictures | smallest closeness | largest drop in mAP |",
        "|---" * 6 + "|",
    ]
    for precision in sorted({row.precision for row in rows}, reverse=True):
        of = [row for row in rows if row.precision == precision]
        lines.append(
            f"| {precision} | {len(of)} | {max(row.worst_distance for row in of):.1e} | "
            f"{max(row.worst_synthetic_distance for row in of):.1e} | {min(row.closeness for row in of):.4f} | "
            f"{max(row.map_drop for row in of):.4f} |"
        )
    return "\n".join(lines) + "\n"


def _counts(rows: list[Honest]) -> str:
    refused = sum(row.verdict != "compatible" for row in rows)
    return (
        f"{len(rows)} exports, {refused} refused, {sum(row.false_alarm for row in rows)} of them false alarms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=100, help="number of exports (100)")
    parser.add_argument("--only", help="one target")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--quantised", action="store_true", help="int8 and int8-weights")
    parser.add_argument("--page", action="store_true", help="export nothing, write the page")
    options = parser.parse_args()
    if options.page:
        put(PAGE, COMMAND, summary([Honest(**row) for row in json.loads(RESULTS.read_text())]))
        return 0
    encoders, rows, known = Encoders(), list[Honest](), list[Honest]()
    if options.quantised and options.json and options.json.exists():
        known = [Honest(**row) for row in json.loads(options.json.read_text())]
    started = time.monotonic()
    asked = quantised_cases() if options.quantised else cases()
    chosen = [case for case in asked if options.only in (None, case.target)][: options.most]
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            row = export(case, encoders, Path(folder))
        rows.append(row)
        print(
            f"{time.monotonic() - started:6.0f} s {len(rows):4} {row.encoder:26} {row.target:10} {row.precision} "
            f"{row.capacity:.3f} /{row.multiple} {row.verdict} worst {row.worst_distance:.1e} mean "
            f"{row.mean_distance:.1e} synthetic {row.worst_synthetic_distance:.1e} closeness {row.closeness:.4f} "
            f"mAP drop {row.map_drop:+.4f} {'; '.join(row.reasons)}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in [*known, *rows]], indent=1) + "\n")
    print(_counts(rows))
    return 1 if any(row.false_alarm for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
