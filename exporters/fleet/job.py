"""One export of the command: quiet, and with a log that stays where it failed."""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.pipeline.export import Exported, export_bundle
from exporters.progress import Say
from exporters.quiet import quiet
from prunnet.profile import DeviceProfile
from prunnet.solver import Plan
from runtime_py.bundle.manifest import Target
from runtime_py.errors import PrunnetError

if TYPE_CHECKING:
    from prunnet.package.package import EncoderPackage


@dataclass(frozen=True)
class Job:
    """One profile and target, with its plan once there is one."""

    profile: DeviceProfile
    target: Target
    plan: Plan | None = None

    @property
    def label(self) -> str:
        """For people: "pixel8/tflite"."""
        return f"{self.profile.name}/{self.target}"


@dataclass(frozen=True)
class Failure:
    """An error as a value, so that it passes between processes."""

    kind: str
    """Class of the error."""
    message: str
    exit_code: int
    log: Path | None
    """What the toolchains printed, and the traceback."""


def failure_of(error: Exception, log: Path | None) -> Failure:
    """Return an error as a value; what is no PrunnetError is a bug, exit code 1."""
    code = error.exit_code if isinstance(error, PrunnetError) else 1
    return Failure(type(error).__name__, str(error), code, log)


def run_job(package: EncoderPackage, job: Job, out: Path, say: Say) -> Exported | Failure:
    """Export one bundle without a word from the toolchains.

    Returns:
        The bundle; or the failure, with everything that was printed saved at `out/<profile>/<target>.log`.
    """
    kept = out / job.profile.name / f"{job.target}.log"
    with tempfile.TemporaryDirectory(prefix="prunnet-log-") as scratch:
        log = Path(scratch) / "log"
        try:
            with quiet(log):
                try:
                    result = export_bundle(package, job.profile, job.target, out, plan=job.plan, say=say)
                except Exception:
                    traceback.print_exc(file=sys.stderr)
                    raise
        except (
            Exception
        ) as error:  # the boundary of the command: bugs too become an exit code, and are logged
            return failure_of(error, _keep(log, kept))
    kept.unlink(missing_ok=True)
    return result


def _keep(log: Path, kept: Path) -> Path | None:
    """Save the log; a folder that cannot be written must not hide why the export failed."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, kept)
    except OSError:
        return None
    return kept
