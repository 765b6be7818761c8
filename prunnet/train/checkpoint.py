"""Checkpoints: one safetensors file that holds a run whole, replaced atomically."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prunnet.errors import TrainingError
from prunnet.train.recipe import Recipe
from prunnet.train.recipe_differences import differences
from prunnet.train.step import JointStep
from runtime_py.files import plain_name

FILE = "checkpoint.safetensors"

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


def holds_run(folder: Path) -> bool:
    """Tell whether a folder has a checkpoint, so that a run in it can be resumed."""
    return (folder / FILE).exists()


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder before anything is read or built for it.

    A run is resumed where there is one. It is not written over; only one that was stopped before its first epoch ended
    has nothing to lose.

    Raises:
        TrainingError: There is nothing to resume, or a run that would be lost.
    """
    if resume and not holds_run(folder):
        raise TrainingError(
            f"{folder} holds no checkpoint to resume from; start without --resume, or correct --out"
        )
    if not resume and holds_run(folder) and _opened(folder / FILE)[0].get("step") != "0":
        raise TrainingError(
            f"{folder} already holds a run; continue it with --resume, or choose another --out"
        )


def remove_scratch(folder: Path) -> None:
    """Remove what killed writes of a checkpoint left behind."""
    for scratch in folder.glob(f".{FILE}.*"):
        scratch.unlink(missing_ok=True)


def save_checkpoint(
    folder: Path, run: RunIdentity, step: int, joint: JointStep, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state after `step` steps; a killed write leaves the checkpoint before it.

    Raises:
        TrainingError: The file can not be written (a full disk, say).
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    scratch = folder / f".{FILE}.{os.getpid()}"
    try:
        about = {"step": str(step), "recipe": run.recipe.model_dump_json(), "dense": run.dense}
        with plain_name(scratch) as name:
            save_file(_tensors(joint, optimizer), name, about)
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(folder / FILE)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{folder / FILE} can not be written after step {step}: {error}; free some space and continue with --resume"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


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
    about, tensors = _opened(file, whole=True)
    if differing := differences(about.get("recipe", ""), run.recipe):
        raise TrainingError(
            f"{file} was written by another recipe: {'; '.join(differing)}; resume with that one, or choose another "
            "--out"
        )
    if (given := about.get("dense", "")) != run.dense:
        raise TrainingError(
            f"{file} was written by a run that {_origin(given)}, and this one {_origin(run.dense)}; resume with the "
            "same --dense, or choose another --out"
        )
    joint.prunable.load_state_dict(_below(tensors, "prunable."))
    joint.classifier.load_state_dict(_below(tensors, "classifier."))
    for number, parameter in enumerate(joint.parameters):
        for name, key in _STATE.items():
            stored_state = tensors.get(f"{name}.{number}")
            if stored_state is not None:
                # AdamW counts its steps on the CPU, wherever the parameter is.
                device = "cpu" if key == "step" else parameter.device
                optimizer.state[parameter][key] = stored_state.to(device)
    return int(about["step"])


def _opened(file: Path, whole: bool = False) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return what a checkpoint says of itself, and its tensors if it is wanted whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with plain_name(file) as name, safe_open(name, "pt") as stored:
            names = list(stored.keys()) if whole else []
            return stored.metadata() or {}, {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{file} is damaged: {error}; remove it to start over") from error


def _origin(dense: str) -> str:
    return f"follows the finished dense encoder of space {dense}" if dense else "trains its own dense encoder"


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _tensors(joint: JointStep, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"prunable.{n}": t for n, t in joint.prunable.state_dict().items()}
    tensors |= {f"classifier.{n}": t for n, t in joint.classifier.state_dict().items()}
    for number, parameter in enumerate(joint.parameters):
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{n}.{number}": state[key] for n, key in _STATE.items() if state.get(key) is not None}
    return {name: t.detach().contiguous() for name, t in tensors.items()}
