"""Checkpoints: one safetensors file that holds a run whole, replaced atomically."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prunnet.errors import TrainingError
from prunnet.train.recipe import Recipe
from prunnet.train.step import JointStep

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
        save_file(_tensors(joint, optimizer), scratch, about)
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(folder / FILE)
    except (OSError, SafetensorError) as error:
        scratch.unlink(missing_ok=True)
        raise TrainingError(
            f"{folder / FILE} can not be written after step {step}: {error}; free some space and continue with --resume"
        ) from error


def load_checkpoint(
    folder: Path, run: RunIdentity, joint: JointStep, optimizer: torch.optim.Optimizer
) -> int:
    """Bring a run back to where its last checkpoint left it.

    Returns:
        Number of steps done; 0 if there is no checkpoint yet.

    Raises:
        TrainingError: The checkpoint is damaged, or belongs to another recipe or to another finished dense encoder.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / FILE
    if not file.exists():
        return 0
    try:
        with safe_open(file, "pt") as stored:
            about = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{file} is damaged: {error}; remove it to start over") from error
    if _recipe(about) != run.recipe:
        raise TrainingError(
            f"{file} was written by another recipe; resume with that one, or choose another --out"
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


def _origin(dense: str) -> str:
    return f"follows the finished dense encoder of space {dense}" if dense else "trains its own dense encoder"


def _recipe(about: dict[str, str]) -> Recipe | None:
    """Return the recipe of a checkpoint; None if it is none that is valid today."""
    try:
        written = json.loads(about.get("recipe", ""))
        # A named method would fill in today's value; a run from before the option kept the same ratio everywhere.
        written["method"].setdefault("spare_narrow", 0.0)
        return Recipe.model_validate(written)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _tensors(joint: JointStep, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"prunable.{n}": t for n, t in joint.prunable.state_dict().items()}
    tensors |= {f"classifier.{n}": t for n, t in joint.classifier.state_dict().items()}
    for number, parameter in enumerate(joint.parameters):
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{n}.{number}": state[key] for n, key in _STATE.items() if state.get(key) is not None}
    return {name: t.detach().contiguous() for name, t in tensors.items()}
