"""`prunnet-eval`: the command over `measure_curve`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime_py.errors import PrunnetError

if TYPE_CHECKING:
    from prunnet.package import EncoderPackage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except PrunnetError as error:
        print(f"prunnet-eval: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-eval",
        description="Measure how the subnetworks of an encoder retrieve from its dense gallery.",
        epilog="exit codes: 0 ok, 1 bug, 2 usage, encoder or data error",
    )
    parser.add_argument("encoder", help="folder of an encoder package, or a built-in name (glyphs)")
    parser.add_argument(
        "--dataset",
        help="glyphs, a folder with test/CLASS/*, or NAME=ROOT of an official benchmark, e.g. cub200=/data/CUB "
        "(docs/benchmarks.md); glyphs if the encoder was trained on them",
    )
    parser.add_argument(
        "--capacity", type=float, action="append", help="in (0, 1]; several times for several"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _run(options: argparse.Namespace) -> int:
    from prunnet.cli.table import curve_as_json, curve_table
    from prunnet.data import open_benchmark
    from prunnet.errors import DatasetError
    from prunnet.evaluation import measure_curve, reachable
    from prunnet.package import load_encoder

    package = load_encoder(options.encoder)
    capacities = options.capacity or reachable(package.prunable)
    trained_on = package.metadata.metrics.get("data", "glyphs")
    if options.dataset is None and trained_on != "glyphs":
        raise DatasetError(
            f"{options.encoder} was trained on {trained_on!r}: say what to retrieve, "
            "--dataset FOLDER (with test/CLASS/*)"
        )
    dataset = options.dataset or "glyphs"
    if "=" in dataset:
        name, _, root = dataset.partition("=")
        return _benchmark(package, name, root, capacities, options.json)
    size = (package.preprocessing.height, package.preprocessing.width)
    curve = measure_curve(
        package.prunable,
        package.probes.calibration,
        open_benchmark(dataset, size),
        capacities,
        say=lambda text: print(text, file=sys.stderr),
    )
    print(curve_as_json(curve.as_dict()) if options.json else curve_table(curve.as_dict()))
    return 0


def _benchmark(
    package: EncoderPackage, name: str, root: str, capacities: Sequence[float], as_json: bool
) -> int:
    import json

    from prunnet.data.benchmarks import open_task
    from prunnet.task_evaluation import measure_task

    task = open_task(name, Path(root))
    curve = measure_task(package, task, capacities, say=lambda text: print(text, file=sys.stderr))
    print(json.dumps(curve.as_dict(), indent=1) if as_json else curve.table())
    return 0
