"""Many profiles and targets from one encoder: plans first, then exports in parallel processes.

All plans are made here, over cost graphs that they share; each worker loads the encoder once for all its jobs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporters.fleet.job import Failure, Job, failure_of, run_job
from exporters.fleet.workers import why_no_pool, worker_pool
from exporters.pipeline.export import Exported
from exporters.pipeline.planning import plan_export
from exporters.progress import Say, Screen, second_stderr, silent
from prunnet.profile import DeviceProfile
from runtime_py.bundle.manifest import Target
from runtime_py.disk.scratch import remove_stale
from runtime_py.errors import PrunnetError

if TYPE_CHECKING:
    from prunnet.package.package import EncoderPackage

BUG = 1
"""Exit code of an error that is not the user's."""


@dataclass(frozen=True)
class Outcome:
    """What became of one (profile, target)."""

    job: Job
    result: Exported | Failure | None
    """None for a dry run that found a plan."""

    @property
    def exit_code(self) -> int:
        """0, or the failure's own."""
        return self.result.exit_code if isinstance(self.result, Failure) else 0


def plan_fleet(
    package: EncoderPackage,
    profiles: Sequence[DeviceProfile],
    targets: Sequence[Target] | None,
    say: Say = silent,
) -> tuple[Job | Outcome, ...]:
    """Return a job with its plan, or the failed outcome, for every profile and target.

    Args:
        package: The encoder.
        profiles: The fleet.
        targets: Instead of each profile's own.
        say: Takes a line for each plan.
    """
    planned: list[Job | Outcome] = []
    for profile in profiles:
        for target in targets or profile.targets:
            job = Job(profile, target)
            say(f"{job.label}: plan")
            try:
                planned.append(Job(profile, target, plan_export(package, profile, target)))
            except PrunnetError as error:
                planned.append(Outcome(job, failure_of(error, None)))
    return tuple(planned)


def export_fleet(
    package: EncoderPackage, encoder: str, jobs: Sequence[Job], out: Path, workers: int, say: Say = silent
) -> Iterator[Outcome]:
    """Export every job; yield outcomes as they come. The failure of one does not stop the others.

    Args:
        package: The encoder, loaded.
        encoder: Name or path that it was loaded by; workers load it again.
        jobs: Planned jobs.
        out: Folder of the bundles.
        workers: Processes; with 1, or on a system without shared memory, all happens in this one.
        say: Takes a line at each stage.
    """
    if not jobs:
        return
    say(f"embed {len(package.probes.images)} probes with the dense encoder")
    dense = package.dense
    workers = min(workers, len(jobs))
    if workers > 1 and (reason := why_no_pool()) is not None:
        say(f"no parallel processes on this system ({reason}); exporting one after the other")
        workers = 1
    if workers == 1:
        for job in jobs:
            yield Outcome(job, run_job(package, job, out, say))
        return
    started = say.started if isinstance(say, Screen) else None
    start = (encoder, dense, max((os.cpu_count() or 1) // workers, 1), started)
    lost: list[Job] = []
    try:
        with worker_pool(workers, _open_worker, start) as pool:
            running = {pool.submit(_work, job, out): job for job in jobs}
            for future in as_completed(running):
                try:
                    yield Outcome(running[future], future.result())
                except BrokenProcessPool:
                    lost.append(running[future])
        for job in lost:  # a process that dies takes the whole pool along: now each has one of its own
            say(f"{job.label}: a worker died, start again")
            with worker_pool(1, _open_worker, start) as pool:
                try:
                    yield Outcome(job, pool.submit(_work, job, out).result())
                except BrokenProcessPool as error:
                    yield Outcome(job, failure_of(error, None))
    finally:
        for job in jobs:  # what a worker that was killed was writing
            remove_stale(out / job.profile.name, f".{job.target}")


def worst(codes: Sequence[int]) -> int:
    """Return the exit code of a fleet: a bug first, then the largest."""
    return BUG if BUG in codes else max(codes, default=0)


_package: EncoderPackage
_say: Say


def _open_worker(encoder: str, dense: NDArray[np.float32], threads: int, started: float | None) -> None:
    """Load the encoder once; say what is going on, if anybody listens, on this process's own stderr."""
    global _package, _say
    import torch

    from prunnet.package.load import load_encoder

    torch.set_num_threads(threads)
    _package = load_encoder(encoder)
    _package.take_dense(dense)
    _say = silent if started is None else Screen(second_stderr(), started)


def _work(job: Job, out: Path) -> Exported | Failure:
    return run_job(_package, job, out, _say)
