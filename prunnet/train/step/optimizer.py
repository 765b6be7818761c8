"""The optimizer of a run."""

from __future__ import annotations

from typing import Any

import torch

from prunnet.train.recipe.schedule import ScheduleSpec
from prunnet.train.step.step import JointStep


def new_optimizer(joint: JointStep, schedule: ScheduleSpec) -> torch.optim.Optimizer:
    """Return the schedule's optimizer over all that a step trains; its state is still empty."""
    own = [*joint.prunable.scores.values()]
    own += [] if joint.prunable.adapters is None else joint.prunable.adapters.parameters()
    spared = {id(p) for p in own}
    decayed = [p for p in joint.parameters if p.ndim > 1 and id(p) not in spared]
    plain = [p for p in joint.parameters if p.ndim <= 1 or id(p) in spared]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(schedule.momentum, 0.999))
    return torch.optim.SGD(
        groups, lr=schedule.learning_rate, momentum=schedule.momentum, nesterov=schedule.momentum > 0
    )
