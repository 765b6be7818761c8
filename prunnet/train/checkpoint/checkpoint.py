"""Checkpoints: one safetensors file that holds a run whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prunnet.errors import PrunnetError, TrainingError
from prunnet.train.checkpoint.tensor_file import read_tensors, remove_unfinished, write_tensors
from prunnet.train.recipe.differences import differences
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.step.step import JointStep

FILE = "checkpoint.safetensors"
NETWORKS = ("prunable.", "classifier.")
"""How the names of their tensors begin."""

# Name in the file -> key in the optimizer's state: momentum is SGD's, the others are AdamW's.
_STATE = {"momentum": "momentum_buffer", "exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq", "step": "step"}


@dataclass(frozen=True)
class RunIdentity:
    """What a checkpoint must agree with to be resumed.

    Attributes:
        recipe: The run's.
        dense: Space id of the finished dense encoder that it was given; empty where it trains its own.
    """

    recipe: Recipe
    dense: str = ""

    def about(self, step: int) -> dict[str, str]:
        """Return what a file says of the run that wrote it after `step` steps."""
        return {"step": str(step), "recipe": self.recipe.model_dump_json(), "dense": self.dense}

    def check(self, file: Path, about: Mapping[str, str]) -> int:
        """Return the step after which this run wrote a file.

        Raises:
            TrainingError: Something else wrote it: another recipe, another finished dense encoder, another program.
        """
        step = _step(file, about)
        if differing := differences(about["recipe"], self.recipe):
            raise TrainingError(
                f"{file} was written by another recipe: {'; '.join(differing)}; resume with that one, or choose "
                "another --out"
            )
        if (given := about.get("dense", "")) != self.dense:
            raise TrainingError(
                f"{file} was written by a run that {_origin(given)}, and this one {_origin(self.dense)}; resume with "
                "the same --dense, or choose another --out"
            )
        if step > self.recipe.schedule.total:
            raise _damaged(file, f"it names step {step} of {self.recipe.schedule.total}")
        return step


def holds_run(folder: Path) -> bool:
    """Tell whether a folder has a checkpoint, so that a run in it can be resumed."""
    return (folder / FILE).exists()


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder before anything is read or built for it.

    A run is resumed where there is one. It is not written over; only one that was stopped before its first epoch ended
    has nothing to lose.

    Raises:
        TrainingError: There is nothing to resume, a run that would be lost, or a file that is no checkpoint.
    """
    if not holds_run(folder):
        if resume:
            raise TrainingError(
                f"{folder} holds no checkpoint to resume from; start without --resume, or correct --out"
            )
        return
    step = _step(folder / FILE, read_tensors(folder / FILE, whole=False)[0])
    if not resume and step:
        raise TrainingError(
            f"{folder} already holds a run; continue it with --resume, or choose another --out"
        )


def remove_scratch(folder: Path) -> None:
    """Remove what killed writes of a checkpoint left behind."""
    remove_unfinished(folder / FILE)


def save_checkpoint(
    folder: Path, run: RunIdentity, step: int, joint: JointStep, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state after `step` steps; a killed write leaves the checkpoint before it.

    Raises:
        TrainingError: The file cannot be written (a full disk, say).
    """
    tensors = _tensors(joint, optimizer)
    write_tensors(folder / FILE, tensors, run.about(step) | {"tensors": str(len(tensors))})


def load_checkpoint(
    folder: Path, run: RunIdentity, joint: JointStep, optimizer: torch.optim.Optimizer
) -> int:
    """Bring a run back to where its last checkpoint left it.

    Returns:
        Number of steps done.

    Raises:
        TrainingError: The checkpoint is missing or damaged, or belongs to another recipe or to another finished dense
            encoder.
    """
    file = folder / FILE
    about, tensors = read_tensors(file)
    step = run.check(file, about)
    if about.get("tensors", str(len(tensors))) != str(len(tensors)):
        raise _damaged(file, f"{about['tensors']} tensors were written and {len(tensors)} are there")
    if step and _keeps_state(optimizer) and not any(name.split(".")[0] in _STATE for name in tensors):
        raise _damaged(file, "the optimizer's state is missing")
    load_networks(file, tensors, joint)
    state = {name: tensor for name, tensor in tensors.items() if not name.startswith(NETWORKS)}
    for number, parameter in enumerate(joint.parameters):
        for name, key in _STATE.items():
            stored = state.pop(f"{name}.{number}", None)
            if stored is None:
                continue
            if stored.shape != (() if key == "step" else parameter.shape):
                raise _damaged(file, f"{name}.{number} has the shape {[*stored.shape]}")
            # AdamW counts its steps on the CPU, wherever the parameter is.
            optimizer.state[parameter][key] = stored.to("cpu" if key == "step" else parameter.device)
    if state:
        raise _damaged(file, f"{min(state)} belongs to nothing in this run")
    return step


def networks_of(joint: JointStep) -> dict[str, Tensor]:
    """Return the tensors of encoder, scores, adapters and classifier."""
    tensors = {f"prunable.{n}": t for n, t in joint.prunable.state_dict().items()}
    return tensors | {f"classifier.{n}": t for n, t in joint.classifier.state_dict().items()}


def load_networks(file: Path, tensors: dict[str, Tensor], joint: JointStep) -> None:
    """Take over what `networks_of` returned.

    Raises:
        TrainingError: Something is missing, too much or of another shape.
    """
    try:
        joint.prunable.load_state_dict(_below(tensors, NETWORKS[0]))
        joint.classifier.load_state_dict(_below(tensors, NETWORKS[1]))
    except (RuntimeError, PrunnetError) as error:
        raise _damaged(file, " ".join(str(error).split())) from error


def _step(file: Path, about: Mapping[str, str]) -> int:
    """Return the step that a file was written after.

    Raises:
        TrainingError: It does not say what a checkpoint says.
    """
    step = about.get("step", "")
    if "recipe" not in about or not (step.isascii() and step.isdecimal()):
        raise TrainingError(
            f"{file} was not written by prunnet-train (it names no recipe or no step); move it away, or choose another "
            "--out"
        )
    return int(step)


def _keeps_state(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether an optimizer remembers earlier steps; SGD without momentum does not."""
    return any(group.get("momentum") != 0 for group in optimizer.param_groups)


def _damaged(file: Path, what: str) -> TrainingError:
    return TrainingError(f"{file} is damaged or of another network: {what}; remove it to start over")


def _origin(dense: str) -> str:
    return f"follows the finished dense encoder of space {dense}" if dense else "trains its own dense encoder"


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _tensors(joint: JointStep, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = networks_of(joint)
    for number, parameter in enumerate(joint.parameters):
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{n}.{number}": state[key] for n, key in _STATE.items() if state.get(key) is not None}
    return tensors
