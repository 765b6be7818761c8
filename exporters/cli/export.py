"""`prunnet-export`: the command over `export_bundle`."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exporters.cli.arguments import positive
from exporters.targets.registry import TARGETS, as_target
from runtime_py.disk.scratch import workspace
from runtime_py.shell import run_command, show

EPILOG = """\
exit codes: 0 ok, 1 bug, 2 usage or profile, 3 infeasible, 4 export failed, 5 incompatible (or the worst),
128 + n ended by signal n

examples:
  prunnet-export --profile pixel8 --dry-run
  prunnet-export --profile my_board.yaml --encoder my_encoder/ --target onnx --out build
  prunnet-export --profile pixel8 --target tflite --precision int8
  prunnet-export --profile 'device_profiles/*.yaml' --jobs 4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_parser(), _run, arguments, extra=lambda options: ",".join(options.target or TARGETS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-export",
        description="Export the largest subnetwork that a device affords, proven compatible.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--profile",
        action="append",
        required=True,
        help="device profile: a shipped name, a YAML file, or a quoted glob; may be given several times",
    )
    parser.add_argument(
        "--encoder", default="glyphs", help="encoder: a folder, or a built-in name (%(default)s)"
    )
    parser.add_argument(
        "--target",
        action="append",
        help=f"only these of the profile's targets: {', '.join(TARGETS)}; may be given several times",
    )
    parser.add_argument(
        "--precision", help="instead of the profile's, for all targets that are exported; each must offer it"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build"),
        help="folder of the bundles (%(default)s); earlier ones of the same profile and target are replaced",
    )
    parser.add_argument("--jobs", type=positive, help="parallel exports (the number of cores)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and export nothing")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of tables")
    return parser


def _run(options: argparse.Namespace) -> int:
    with workspace():
        return _export(options)


def _export(options: argparse.Namespace) -> int:
    targets = [as_target(name) for name in options.target or ()]
    from exporters.progress import Screen, unhidden
    from prunnet.errors import ProfileError
    from prunnet.profile import DeviceProfile, load_profiles
    from runtime_py.bundle.tolerances import as_precision

    profiles: dict[str, DeviceProfile] = {}
    precision = options.precision and as_precision(options.precision)
    for pattern in options.profile:
        for stated in load_profiles(pattern):
            profile = stated.at_precision(precision, targets) if precision else stated
            if profiles.setdefault(profile.name, profile) != profile:
                raise ProfileError(pattern, "two different profiles have one name", given=profile.name)
    with unhidden() as stream:
        say = Screen(stream)
        say(f"load encoder {options.encoder}")
        with _uncollected():
            from exporters.fleet.fleet import Outcome, export_fleet, plan_fleet, worst
            from exporters.fleet.report import as_json, as_text
            from prunnet.package.load import load_encoder

            package = load_encoder(options.encoder)
        planned = plan_fleet(package, tuple(profiles.values()), targets, say)
        outcomes = [entry for entry in planned if isinstance(entry, Outcome)]
        jobs = [entry for entry in planned if not isinstance(entry, Outcome)]
        if options.dry_run:
            outcomes += [Outcome(job, None) for job in jobs]
        else:
            workers = options.jobs or os.cpu_count() or 1
            outcomes += export_fleet(package, options.encoder, jobs, options.out, workers, say)
    order = [entry.job.label if isinstance(entry, Outcome) else entry.label for entry in planned]
    outcomes.sort(key=lambda outcome: order.index(outcome.job.label))
    show(as_json(outcomes) if options.json else as_text(outcomes))
    return worst([outcome.exit_code for outcome in outcomes])


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import and build without the garbage collector, which would look through all of torch a dozen times.

    What is there at the end stays, so later collections leave it alone.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
