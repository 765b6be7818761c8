"""`prunnet-eval`: the command over `measure_curve`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from runtime_py.errors import PrunnetError


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
        "--dataset", default="glyphs", help="glyphs, or a folder with test/CLASS/* (%(default)s)"
    )
    parser.add_argument(
        "--capacity", type=float, action="append", help="in (0, 1]; several times for several"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _run(options: argparse.Namespace) -> int:
    from prunnet.cli.table import curve_as_json, curve_table
    from prunnet.data import open_benchmark
    from prunnet.evaluation import CAPACITIES, measure_curve
    from prunnet.package import load_encoder

    package = load_encoder(options.encoder)
    size = (package.preprocessing.height, package.preprocessing.width)
    curve = measure_curve(
        package.prunable,
        package.probes.calibration,
        open_benchmark(options.dataset, size),
        options.capacity or CAPACITIES,
        say=lambda text: print(text, file=sys.stderr),
    )
    print(curve_as_json(curve.as_dict()) if options.json else curve_table(curve.as_dict()))
    return 0
