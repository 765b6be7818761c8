"""`prunnet-bench`: host latency of bundles, beside what their MACs promise."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from exporters.cli.arguments import positive
from runtime_py.shell import run_command, show

EPILOG = """\
Batch 1, one core, median over interleaved rounds: milliseconds of this machine, not of a device;
off macOS bundles for Core ML (coreml, executorch-coreml) run in a Python executor, whose time says nothing: no ratio.
exit codes: 0 ok, 1 bug, 2 usage error or bad bundle
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_parser(), _run, arguments)


def _run(options: argparse.Namespace) -> int:
    rows = bench_bundles(options.bundles, options.rounds)
    show(json.dumps(rows, indent=2) if options.json else as_text(rows))
    return 0


def bench_bundles(bundles: Sequence[Path], rounds: int) -> list[dict[str, Any]]:
    """Time one query of every bundle.

    Args:
        bundles: Folders of bundles; the first is what the others are compared with.
        rounds: Interleaved rounds.

    Returns:
        A record for each bundle; ratios are relative to the first. That of the work is None where a manifest has no
        MFLOPs, that of the time where one of the two was executed in Python, as Core ML's are off macOS.
    """
    from exporters.quiet import quiet
    from exporters.timing import interleave, one_core
    from runtime_py.backends import APPLE_ONLY
    from runtime_py.check.frames import as_frames
    from runtime_py.loading import load

    with one_core(), quiet(Path(os.devnull)):
        encoders = [load(bundle) for bundle in bundles]
        images = [as_frames(one.probes.images[:1], one.manifest.takes.size) for one in encoders]
        calls = [partial(one.embed, image) for one, image in zip(encoders, images, strict=True)]
        timings = interleave(calls, rounds)
    first_work = encoders[0].manifest.measured.mflops
    compared = [sys.platform == "darwin" or encoder.manifest.target not in APPLE_ONLY for encoder in encoders]
    return [
        {
            "bundle": str(bundle),
            "target": encoder.manifest.target,
            "precision": encoder.manifest.precision,
            "capacity": encoder.manifest.capacity,
            "median_ms": timing.median_ms,
            "low_ms": timing.low_ms,
            "high_ms": timing.high_ms,
            "latency_ratio": timing.median_ms / timings[0].median_ms if compares and compared[0] else None,
            "mflops": (work := encoder.manifest.measured.mflops),
            "mac_ratio": work / first_work if work and first_work else None,
            "runtime": encoder.runtime,
        }
        for bundle, encoder, timing, compares in zip(bundles, encoders, timings, compared, strict=True)
    ]


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the records as a table."""
    from runtime_py.table import align

    header = ("bundle", "capacity", "median ms", "rounds from", "to", "latency ratio", "MAC ratio", "runtime")
    cells = [
        (
            row["bundle"],
            f"{row['capacity']:.4f}",
            f"{row['median_ms']:.3f}",
            f"{row['low_ms']:.3f}",
            f"{row['high_ms']:.3f}",
            *("-" if row[key] is None else f"{row[key]:.3f}" for key in ("latency_ratio", "mac_ratio")),
            row["runtime"],
        )
        for row in rows
    ]
    return "\n".join(align([header, *cells], left=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-bench",
        description="Time bundles side by side on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bundles", nargs="+", type=Path, metavar="BUNDLE", help="folder of a bundle; the first is 1.0"
    )
    parser.add_argument("--rounds", type=positive, default=9, help="interleaved rounds (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
