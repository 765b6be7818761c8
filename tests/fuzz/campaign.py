"""Opens thousands of damaged files; whatever is no error of ours is a fault of ours.

`python -m tests.fuzz.campaign --count 5000` (about half an hour on one core) prints the table, and every fault
with the words that repeat it. Artifacts may end the process that opens them, since runtimes are native code: then
`prunnet-check`'s own isolation must make a verdict of the same case.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from runtime_py.children import python_command
from tests.fuzz import subjects
from tests.fuzz.subjects import SUBJECTS

BATCH = 100
CASE_SECONDS = 60.0
"""By the clock, until a case counts as one that hangs; the table shows seconds of CPU, of which few take three."""


@dataclass
class Tally:
    """What became of the cases of one subject."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak_mib: int = 0


def campaign(sound: Path, count: int, seed: int, only: list[str] | None = None) -> dict[str, Tally]:
    """Run `count` cases over the subjects, by their shares."""
    found = {}
    for name, (_, share) in SUBJECTS.items():
        if only is None or name in only:
            cases = max(1, round(count * share)) if only is None else count
            found[name] = _run(name, sound, seed, cases)
    return found


def table(found: dict[str, Tally]) -> str:
    """Return the figures for people."""
    titles = ("cases", "refused", "fine", "died, verdict", "other", "slowest", "peak")
    widths = (6, 8, 6, 14, 6, 8, 9)
    head = f"{'subject':10}" + "".join(f" {t:>{w}}" for t, w in zip(titles, widths, strict=True))
    lines = [head]
    for name, tally in found.items():
        of = tally.counts
        lines.append(
            f"{name:10} {of.total():6} {of['refused']:8} {of['fine']:6} {of['died']:14} {of['other']:6} "
            f"{tally.slowest:6.1f} s {tally.peak_mib:5} MiB"
        )
    return "\n".join(lines)


def _run(subject: str, sound: Path, seed: int, cases: int) -> Tally:
    tally, done = Tally(), 0
    while done < cases:
        ended_at = _batch(subject, sound, seed, done, min(BATCH, cases - done), tally)
        done = ended_at
    return tally


def _batch(subject: str, sound: Path, seed: int, first: int, count: int, tally: Tally) -> int:
    """Run a batch in a process; return the number of the next case."""
    command, environment = python_command("tests.fuzz.worker")
    command += [subject, str(sound), *map(str, (seed, first, count))]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    begun = first - 1
    watch = _Watch(process)
    for line in process.stdout:
        record = json.loads(line)
        if "begin" in record:
            begun = record["begin"]
            watch.wind(CASE_SECONDS if begun > first else 4 * CASE_SECONDS)  # the first one imports
            continue
        watch.stop()
        tally.counts[record["result"]] += 1
        if record["result"] == "refused":
            tally.errors[record["detail"].partition(":")[0]] += 1
        if record["result"] == "other":
            tally.faults.append(f"{subject} {seed} {record['case']}: {record['detail']}")
        if record["case"] > first:
            tally.slowest = max(tally.slowest, record["seconds"])
        tally.peak_mib = max(tally.peak_mib, record["peak_mib"])
    hung = watch.stop()
    if process.wait() == 0 and not hung:
        return first + count
    if begun < first:
        raise RuntimeError(f"the process of {subject} cases did not start: {' '.join(command)}")
    said = _isolated(sound, seed, begun) if subject == "artifact" else None
    if said is None:
        tally.counts["other"] += 1
        end = "hung" if hung else f"ended the process with {process.returncode}"
        tally.faults.append(f"{subject} {seed} {begun}: {end}")
    else:
        tally.counts["died"] += 1
        tally.errors[said] += 1
    return begun + 1


class _Watch:
    """Kills a process whose case takes too long."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._timer, self._rang = process, None, False

    def wind(self, seconds: float) -> None:
        self._timer: threading.Timer | None = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def _ring(self) -> None:
        self._rang = True
        self._process.kill()

    def stop(self) -> bool:
        """Stop; return whether it ever rang."""
        if self._timer is not None:
            self._timer.cancel()
        return self._rang


def _isolated(sound: Path, seed: int, case: int) -> str | None:
    """Check the same damaged bundle as `prunnet-check` does; None if that is no verdict with exit code 5 or 2."""
    from runtime_py.cli.isolation import check_bundles
    from runtime_py.cli.outcome import exit_code

    with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
        held = subjects._check
        subjects._check = lambda bundle: str(bundle)
        try:
            bundle = subjects.artifact(sound, Path(work), Random(f"artifact-{seed}-{case}"))
        finally:
            subjects._check = held
        (outcome,) = check_bundles([Path(bundle)], timeout=CASE_SECONDS)
    return type(outcome.error).__name__ if exit_code([outcome]) in (2, 5) else None


def main() -> int:
    """Run a campaign and return how it went: 0 without faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--only", action="append", choices=list(SUBJECTS))
    parser.add_argument("--sound", type=Path, help="folder with the sound files; is made where it is absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-sound-") as scratch:
        sound = options.sound or Path(scratch) / "sound"
        if not sound.exists():
            sound.mkdir(parents=True)
            subjects.prepare(sound)
        found = campaign(sound, options.count, options.seed, options.only)
    print(table(found))
    for name, tally in found.items():
        print(f"\n{name}: {', '.join(f'{count} {error}' for error, count in tally.errors.most_common())}")
        for fault in tally.faults:
            print(f"FAULT {fault}")
    return int(any(tally.faults for tally in found.values()))


if __name__ == "__main__":
    sys.exit(main())
