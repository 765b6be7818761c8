"""`prunnet-check`: measure the drift of bundles on this machine.

argparse and a plain table, not typer and rich: a board needs neither, and `--help` answers in 0.05 s
instead of 0.13 s (2-core x86-64). Nothing heavy is imported before the arguments are parsed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from runtime_py.shell import USAGE, note, run_command, show

if TYPE_CHECKING:
    from runtime_py.cli.outcome import Outcome

TIMEOUT_SECONDS = 900.0
"""For one bundle. An honest check takes seconds; a minute and a half on an emulated Cortex-A53."""

_EPILOG = """\
exit codes: 0 all compatible, 5 incompatible, not verified or moved from the baseline, 2 usage error or
bad bundle, 1 bug, 128 + n ended by signal n

Below a folder, whatever looks like a bundle or cannot be looked at counts: links to bundles, bundles without
their manifest, unfinished exports, unreadable folders.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    parser.emulates = "--emulate" in (sys.argv[1:] if arguments is None else arguments)
    return run_command(parser, _run, arguments)


def _run(given: argparse.Namespace) -> int:
    from runtime_py.disk.scratch import workspace

    with workspace():  # a check that hangs is killed, with what it sends to a device
        return _check(given)


def _check(given: argparse.Namespace) -> int:
    if given.emulate is not None:
        given.device = f"emulate:{given.emulate}"
    if given.probes is not None and given.device is None:
        note("prunnet-check: --probes needs --emulate or --device; this machine takes them all")
        return USAGE
    if given.instructions and given.emulate is None:
        note("prunnet-check: --instructions needs --emulate; only an emulator counts them")
        return USAGE
    if given.server is not None and given.device is not None:
        note("prunnet-check: --server is for this machine; leave it out with --emulate and --device")
        return USAGE
    from runtime_py.cli.baseline import Baseline, compare, read_baseline, update
    from runtime_py.cli.discovery import find_bundles
    from runtime_py.cli.isolation import check_bundles
    from runtime_py.cli.outcome import Outcome, exit_code
    from runtime_py.cli.table import table
    from runtime_py.errors import BundleError

    if given.update_baseline and given.baseline is None:
        note("prunnet-check: --update-baseline needs a file: add --baseline FILE")
        return BundleError.exit_code
    if not _places_are_writable(given):
        return BundleError.exit_code
    if (given.embeddings or given.write_originals) and given.device is not None:
        note("prunnet-check: --embeddings and --write-originals go with a check on this machine")
        return USAGE
    fresh = given.update_baseline and not given.baseline.exists()
    baseline = read_baseline(given.baseline) if given.baseline and not fresh else Baseline(bundles={})
    found = find_bundles(given.bundles, given.server)
    if (given.embeddings or given.write_originals) and len(found) != 1:
        note(
            f"prunnet-check: --embeddings and --write-originals are of one bundle, and {len(found)} are given"
        )
        return USAGE
    if given.write_originals and isinstance(found[0], Path):
        names = _written_originals(found[0], given.write_originals)
        if not names:
            return BundleError.exit_code
        note(f"wrote {len(names)} pictures and originals.json to {given.write_originals}")
    say = note if sys.stderr.isatty() else lambda line: None
    outcomes = list(
        check_bundles(
            found,
            given.server,
            timeout=given.timeout,
            device=given.device,
            probes=given.probes,
            instructions=given.instructions,
            exhibits=given.html is not None,
            say=say,
        )
    )
    if given.embeddings:
        from runtime_py.cli.app_test import judge_app

        outcomes = [judge_app(outcome, given.embeddings) for outcome in outcomes]
    if given.expect is not None and len(found) != given.expect:
        problem = f"{len(found)} bundles were found, {given.expect} are expected (--expect)"
        outcomes.append(
            Outcome(Path(given.bundles[0]), error=BundleError(given.bundles[0], problem, "export them"))
        )
    if given.update_baseline:
        outcomes = update(given.baseline, baseline, outcomes)
    elif given.baseline:
        outcomes = compare(baseline, given.baseline, outcomes)
    code = exit_code(outcomes)
    if given.json:
        show(json.dumps([outcome.to_json() for outcome in outcomes], indent=2))
    else:
        show(table(outcomes))
    unwritten = _write_reports(given, outcomes)
    return code or unwritten


def _places_are_writable(given: argparse.Namespace) -> bool:
    """Try the files that will be written, and note all that cannot be."""
    from runtime_py.cli.report_file import place_errors

    written, kept = (given.baseline, None) if given.update_baseline else (None, given.baseline)
    read = (kept, given.embeddings, given.server and Path(given.server))
    errors = list(place_errors(filter(None, (given.junit, given.html, written)), filter(None, read)))
    for error in errors:
        note(f"prunnet-check: {error}")
    return not errors


def _written_originals(bundle: Path, folder: Path) -> tuple[str, ...]:
    """Write the pictures for an app's test and return their names; note why not and return none."""
    from runtime_py.cli.app_test import write_originals
    from runtime_py.errors import BundleError

    try:
        return write_originals(bundle, folder)
    except BundleError as error:
        note(f"prunnet-check: {error}")
        return ()


def _write_reports(given: argparse.Namespace, outcomes: Sequence[Outcome]) -> int:
    """Write what was asked for; returns the exit code of what could not be written, else 0."""
    from runtime_py.cli.html.page import html_page
    from runtime_py.cli.junit import junit_xml
    from runtime_py.cli.report_file import write_report
    from runtime_py.errors import BundleError

    code = 0
    for file, render in ((given.junit, junit_xml), (given.html, html_page)):
        if not file:
            continue
        try:
            write_report(file, render(outcomes))
        except BundleError as error:
            note(f"prunnet-check: {error}")
            code = error.exit_code
    return code


def _seconds(text: str) -> float:
    from threading import TIMEOUT_MAX

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _share(text: str) -> int:
    count = _count(text)
    if count < 2:
        raise argparse.ArgumentTypeError("a share has at least 2 probes")
    return count


class _Parser(argparse.ArgumentParser):
    emulates = False

    def error(self, message: str) -> NoReturn:
        if self.emulates and message.endswith("BUNDLE"):
            message += " (before --emulate, which takes the word after it as its CPU)"
        super().error(message)


def _parser() -> _Parser:
    parser = _Parser(
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
    parser.add_argument("--expect", metavar="N", type=_count, help="fail unless exactly N bundles are found")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=TIMEOUT_SECONDS,
        help="for each bundle; a check that takes longer is stopped and not verified (%(default)g)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--device",
        metavar="ADDRESS",
        help="check on a board, ssh://user@host[:port], or a phone, adb:SERIAL; it needs Python 3.11, numpy, pydantic "
        "and the runtime",
    )
    where.add_argument(
        "--emulate",
        metavar="CPU",
        nargs="?",
        const="",
        help="check on an emulated Arm processor (cortex-a53, cortex-a55, cortex-a72, cortex-a76, cortex-a710), or "
        "on that of a shipped profile; without a name, of the bundle's own profile. Needs prunnet-device install",
    )
    parser.add_argument(
        "--probes",
        metavar="N",
        type=_share,
        help="on a device, use so many of the probes, spread over their classes",
    )
    parser.add_argument(
        "--instructions",
        action="store_true",
        help="with --emulate, also count the instructions of one embedding: for --baseline, no latency",
    )
    parser.add_argument(
        "--write-originals",
        metavar="FOLDER",
        type=Path,
        help="also write the bundle's pictures of original size, for a test of your app",
    )
    parser.add_argument(
        "--embeddings",
        metavar="FILE",
        type=Path,
        help="also judge what that test made of them (JSON; docs/guide/pictures.md)",
    )
    parser.add_argument("--junit", metavar="FILE", type=Path, help="also write a JUnit report")
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="also write a page with gates, worst probes and neighbours"
    )
    parser.add_argument(
        "--baseline", metavar="FILE", type=Path, help="fail if figures moved, up or down, from those in FILE"
    )
    parser.add_argument(
        "--update-baseline",
        action="store_true",
        help="write this check's figures to the --baseline file, if all bundles are compatible",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
