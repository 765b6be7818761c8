"""`prunnet-check`: measure the drift of bundles on this machine.

argparse and a plain table, not typer and rich: a board needs neither, and `--help` answers in 0.05 s
instead of 0.13 s (2-core x86-64). Nothing heavy is imported before the arguments are parsed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime_py.errors import PrunnetError

_EPILOG = "exit codes: 0 all compatible, 5 incompatible or not verified, 2 usage error or bad bundle, 1 bug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = _parser().parse_args(arguments)
    from runtime_py.junit import write_junit
    from runtime_py.outcome import check_bundle, exit_code, find_bundles
    from runtime_py.table import table

    outcomes = []
    try:
        for bundle in find_bundles(given.bundles):
            if sys.stderr.isatty():
                print(f"checking {bundle} ...", file=sys.stderr)
            outcomes.append(check_bundle(bundle, given.server))
        if given.junit:
            write_junit(outcomes, given.junit)
    except PrunnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if given.json:
        _print(json.dumps([outcome.to_json() for outcome in outcomes], indent=2))
    else:
        _print(table(outcomes))
    return exit_code(outcomes)


def _print(text: str) -> None:
    """Print; a reader that stopped reading (`| head`) does not change the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-check",
        description="Check that bundles embed compatibly with their server, on this machine's own kernels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="a bundle, or a folder of bundles")
    parser.add_argument(
        "--server",
        metavar="PATH",
        help="check against the server's encoder package, ONNX model, TensorFlow SavedModel or stored "
        "gallery (.npz) instead of the embeddings stored in the bundle",
    )
    parser.add_argument("--junit", metavar="FILE", type=Path, help="also write a JUnit report")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser
