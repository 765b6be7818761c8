"""Stops a training that went wrong, before it overwrites its last good state."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from prunnet.errors import TrainingError
from prunnet.train.checkpoint.checkpoint import FILE
from prunnet.train.step.step import JointStep


def check_step(step: int, losses: Mapping[str, float], length: float, folder: Path) -> None:
    """Refuse a step whose losses or gradient are not finite; to be called before the gradient is applied.

    Args:
        step: 0-based.
        losses: "dense" and each capacity -> loss.
        length: Norm of the joint gradient of all parameters and scores.
        folder: Of the run.

    Raises:
        TrainingError: Says what is not finite and where the last good state is.
    """
    if not all(math.isfinite(loss) for loss in losses.values()):
        raise TrainingError(f"step {step}: a loss is not finite ({dict(losses)}); {_advice(folder)}")
    if not math.isfinite(length):
        raise TrainingError(
            f"step {step}: the gradient is not finite (length {length}, losses {dict(losses)}); {_advice(folder)}"
        )


def check_state(step: int, joint: JointStep, folder: Path) -> None:
    """Refuse weights, scores or statistics that are not finite; to be called before they become the checkpoint.

    Raises:
        TrainingError: Names the first of them and where the last good state is.
    """
    state = {**joint.prunable.state_dict(), **joint.classifier.state_dict(prefix="classifier.")}
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"step {step}: {name} is not finite after the step; {_advice(folder)}")


def warn_of_early_start(step: int, dense_loss: float, classes: int) -> None:
    """Warn if subnetworks begin to copy a dense encoder that tells no classes apart yet.

    To agree on one point for all images is then the nearest way to agree, and the dense encoder goes along.

    Args:
        step: 0-based; the first that trains subnetworks on the dense embedding.
        dense_loss: Cross-entropy of the dense encoder there.
        classes: Number of classes; chance is its logarithm.
    """
    chance = math.log(classes)
    if dense_loss > 0.9 * chance:
        warnings.warn(
            f"step {step}: subnetworks start to copy the dense encoder, whose loss is {dense_loss:.2f}, about chance "
            f"({chance:.2f} for {classes} classes): it may collapse to one point; raise method.dense_share, or let it "
            "learn faster (a smaller learning rate, adamw)",
            stacklevel=2,
        )


def _advice(folder: Path) -> str:
    file = folder / FILE
    saved = f"the last good state is {file}" if file.exists() else "no checkpoint yet"
    return f"{saved}; lower schedule.learning_rate"
