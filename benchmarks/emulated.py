"""What do emulated Arm processors compute: this machine's numbers, and in how many instructions?

    python -m benchmarks.emulated differences
    python -m benchmarks.emulated instructions
    python -m benchmarks.emulated page

`differences` checks int8 artifacts of capacity 0.2 on a Cortex-A53, with 40 probes and the parity pictures, and states
how far the embeddings lie from this machine's. All encoders but the built-in one are untrained, with BatchNorm
statistics of real pictures; whether such an artifact is good enough to ship is not asked. `instructions` counts those
of one embedding by the built-in encoder. Both need `prunnet-device install`; neither says anything about time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.drift_honest import UNTRAINED
from benchmarks.page import DOCS, put
from benchmarks.precision_matrix import Subject, Subjects
from exporters.pipeline.originals import drawn
from exporters.pipeline.verification import verify
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.encoder.embedding import embed
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Precision, Target
from runtime_py.bundle.originals import Originals
from runtime_py.bundle.tolerances import TABLE
from runtime_py.bundle.write import write_bundle
from runtime_py.check.originals import framed
from runtime_py.check.report import DriftReport
from runtime_py.devices.check import check_on
from runtime_py.devices.emulator import CPUS
from tests.runtime_py import bundles

PAGE = DOCS / "guide" / "emulate.md"
COMMAND = "python -m benchmarks.emulated"
RESULTS = Path(__file__).parent / "results" / "emulated.json"

TARGETS: dict[Target, str] = {"tflite": "LiteRT", "executorch": "ExecuTorch", "onnx": "ONNX Runtime"}
ENCODERS = ("glyphs", "resnet18", "mobilenetv3_small_100", "convnext_atto", "vit_tiny_patch16_224")
CAPACITIES = (0.2, 1.0)
COUNTED: tuple[Precision, ...] = ("fp32", "int8")
PROBES = 40


def bundle_of(subject: Subject, target: Target, precision: Precision, folder: Path) -> Path:
    """Write a bundle of one subnetwork; nothing is asked of what it retrieves."""
    identity = Identity(
        subject.name, "emulated", subject.capacity, subject.probes.dimension, metadata.version("prunnet")
    )
    spec = ExportSpec(identity, subject.preprocessing, precision, subject.calibration)
    files = drawn(subject.preprocessing)
    originals = Originals(files, embed(subject.module, framed(files, subject.preprocessing)))
    probes = replace(subject.probes, originals=originals)
    nothing_asked = {**UNTRAINED, "min_closeness": 0.0, "min_own_picture": 0.0}
    tolerances = TABLE[precision].model_copy(update=nothing_asked)
    folder.mkdir()
    with quiet(Path(os.devnull)):
        artifact = get_exporter(target).convert(subject.module, spec, folder)
        verified = verify(target, artifact, spec, probes, tolerances)
    draft = bundles.manifest(
        target,
        verified.probes,
        encoder=identity.name,
        space_id=identity.space_id,
        prunnet_version=identity.version,
        capacity=identity.capacity,
        precision=precision,
        artifact=artifact.path.name,
        input=artifact.input,
        output=artifact.output,
        preprocessing=spec.preprocessing,
        drift=verified.drift.model_copy(update={"verdict": "compatible", "reasons": ()}),
    )
    return write_bundle(draft, artifact.path, verified.probes, folder / "bundle")


def differences(subjects: Subjects, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each encoder and runtime."""
    for name in ENCODERS:
        subject = subjects.of(name, 0.2)
        for target in TARGETS:
            bundle = bundle_of(subject, target, "int8", folder / f"{name}-{target}")
            report = check_on(bundle, "emulate:cortex-a53", PROBES)
            figures = report.figures
            assert figures is not None and figures.recorded_mean_cosine is not None
            here = _host(report)
            yield {
                "encoder": name,
                "target": target,
                "runtimes": [here, report.runtime],
                "mean": max(0.0, 1 - figures.recorded_mean_cosine),
                "int8": 1 - figures.mean_cosine,
            }


def _host(report: DriftReport) -> str:
    assert report.device is not None and report.device.host is not None
    return report.device.host


def instructions(subjects: Subjects, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each runtime, capacity and precision, with the count on each processor."""
    for capacity in CAPACITIES:
        subject = subjects.of("glyphs", capacity)
        for target in TARGETS:
            for precision in COUNTED:
                bundle = bundle_of(subject, target, precision, folder / f"{capacity}-{target}-{precision}")
                counts = {}
                for cpu in CPUS:
                    device = check_on(bundle, f"emulate:{cpu}", 2, instructions=True).device
                    assert device is not None
                    if device.instructions is None:
                        raise SystemExit(f"not counted: {device.not_counted}")
                    counts[cpu] = device.instructions
                yield {"target": target, "capacity": capacity, "precision": precision, "counts": counts}


def table_of_differences(rows: list[dict[str, Any]]) -> str:
    """Return them as Markdown, a line for each encoder."""
    lines = [
        "| encoder | what int8 moves | " + " | ".join(TARGETS.values()) + " |",
        "|---" * (2 + len(TARGETS)) + "|",
    ]
    for name in ENCODERS:
        of = {row["target"]: row for row in rows if row["encoder"] == name}
        moved = [of[target]["int8"] for target in TARGETS]
        shares = (of[target]["mean"] / of[target]["int8"] for target in TARGETS)
        cells = " | ".join("0" if share < 1e-6 else f"{share:.2g}" for share in shares)
        lines.append(f"| {name} | {min(moved):.1e} to {max(moved):.1e} | {cells} |")
    return "\n".join(lines)


def table_of_instructions(rows: list[dict[str, Any]]) -> str:
    """Return them as Markdown, a line for each runtime, precision and capacity."""
    titles = (cpu.removeprefix("cortex-").upper() for cpu in CPUS)
    lines = [f"| runtime | precision | capacity | {' | '.join(titles)} |", "|---" * (3 + len(CPUS)) + "|"]
    found = {(row["target"], row["precision"], row["capacity"]): row["counts"] for row in rows}
    for target, precision, capacity in product(TARGETS, COUNTED, CAPACITIES):
        cells = (f"{found[target, precision, capacity][cpu] / 1e6:.2f}" for cpu in CPUS)
        lines.append(f"| {TARGETS[target]} | {precision} | {capacity} | {' | '.join(cells)} |")
    return "\n".join(lines)


PARTS = {
    "differences": (differences, table_of_differences),
    "instructions": (instructions, table_of_instructions),
}


def read() -> dict[str, list[dict[str, Any]]]:
    """Return the committed rows by part."""
    rows: dict[str, list[dict[str, Any]]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=(*PARTS, "page"), help="what to measure; page measures nothing")
    part = parser.parse_args().part
    known = read()
    if part in PARTS:
        known[part] = []
        with tempfile.TemporaryDirectory() as folder:
            for row in PARTS[part][0](Subjects(), Path(folder)):
                known[part].append(row)
                print(json.dumps(row), flush=True)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    for name, rows in known.items():
        put(PAGE, f"{COMMAND} {name}", PARTS[name][1](rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
