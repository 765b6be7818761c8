"""The best state of a run on held-out classes: one safetensors file beside the checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from prunnet.errors import TrainingError
from prunnet.train.checkpoint.checkpoint import RunIdentity, load_networks, networks_of
from prunnet.train.checkpoint.tensor_file import read_tensors, remove_unfinished, write_tensors
from prunnet.train.step.step import JointStep

FILE = "best.safetensors"


@dataclass(frozen=True)
class Best:
    """Attributes:
    step: Steps done when the state was measured.
    figure: Its mAP, in points (0..100); see `prunnet.train.validation`.
    """

    step: int
    figure: float


def save_best(folder: Path, run: RunIdentity, best: Best, joint: JointStep) -> None:
    """Write the networks as they are; a killed write leaves those before them.

    Raises:
        TrainingError: The file cannot be written.
    """
    write_tensors(folder / FILE, networks_of(joint), run.about(best.step) | {"figure": repr(best.figure)})


def known_best(folder: Path, run: RunIdentity) -> Best | None:
    """Return the best state that this run has kept so far; None if it has none.

    Raises:
        TrainingError: The file is damaged or another run's.
    """
    file = folder / FILE
    return _described(file, read_tensors(file, whole=False)[0], run) if file.exists() else None


def load_best(folder: Path, run: RunIdentity, joint: JointStep) -> Best:
    """Bring the networks back to the best state.

    Raises:
        TrainingError: The file is missing, damaged or another run's.
    """
    about, tensors = read_tensors(folder / FILE)
    best = _described(folder / FILE, about, run)
    load_networks(folder / FILE, tensors, joint)
    return best


def forget_best(folder: Path) -> None:
    """Remove the best state of a run that starts anew."""
    (folder / FILE).unlink(missing_ok=True)
    remove_unfinished(folder / FILE)


def _described(file: Path, about: dict[str, str], run: RunIdentity) -> Best:
    step = run.check(file, about)
    try:
        figure = float(about.get("figure", ""))
    except ValueError:
        figure = math.nan
    if not 0 <= figure <= 100:
        raise TrainingError(
            f"{file} is damaged: it names no figure; remove it, and the best state is looked for anew"
        )
    return Best(step, figure)
