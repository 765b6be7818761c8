"""The rounds of a run, and what a step of a round that has not begun will take."""

from __future__ import annotations

import math
import time

import torch

from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.step.step import JointStep
from prunnet.train.watch.progress import Round

_TRIED = 2
"""Steps of the second round that are tried: the first one also makes what is kept between steps."""


def rounds_of(recipe: Recipe, joint: JointStep, device: torch.device, first: int) -> list[Round]:
    """Return the rounds of a run.

    A step of the second round is timed before the first one begins, on noise: it leaves weights, statistics and random
    numbers as they are. Every process of `torchrun` must call this.

    Args:
        recipe: In steps.
        joint: The networks, at the run's beginning or where it is resumed.
        device: Where they are.
        first: Steps done before.
    """
    schedule, method = recipe.schedule, recipe.method
    if schedule.follow is None:
        alone = math.ceil(method.dense_share * schedule.first_round) if method.capacities else 0
        rounds = [
            Round("dense encoder", alone),
            Round("dense encoder and subnetworks", schedule.total - alone),
        ]
        return [each for each in rounds if each.steps]
    second = Round("subnetworks", schedule.follow.steps)
    if first < schedule.first_round:
        second.seconds = _seconds_of_following(recipe, joint, device)
    return [Round("dense encoder", schedule.first_round), second]


def plan_of(recipe: Recipe, items: int, dense_is_given: bool) -> list[str]:
    """Say what a recipe comes down to, a line each.

    Args:
        recipe: In steps.
        items: Training pictures; a batch has no more.
        dense_is_given: The dense encoder is finished already.
    """
    method, schedule = recipe.method, recipe.schedule
    capacities = ", ".join(f"{capacity:g}" for capacity in method.capacities)
    trained = f"{'down to ' if method.draw == 'sandwich' else ''}{capacities}" if capacities else "none"
    asked = schedule.batch_size
    batches = f"{asked}" if asked <= items else f"all {items} pictures (schedule.batch_size asks for {asked})"
    lines = [f"method: {method.name} ({method.granularity}, capacities {trained}), batches of {batches}"]
    if schedule.follow is None:
        alone = math.ceil(method.dense_share * schedule.first_round) if method.capacities else 0
        what = "the dense encoder" + (" and its subnetworks together" if method.capacities else "")
        apart = f", the first {alone:,} of the dense encoder alone" if alone else ""
        return [*lines, f"one round: {schedule.total:,} steps of {what}{apart}"]
    first = "none, it is finished" if dense_is_given else f"{schedule.first_round:,} steps"
    return [*lines, f"rounds: dense encoder, {first}; subnetworks, {schedule.follow.steps:,} steps"]


def _seconds_of_following(recipe: Recipe, joint: JointStep, device: torch.device) -> float:
    schedule = recipe.schedule
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        shape = (max(1, schedule.batch_size // world), *joint.prunable.input_shape)
        pixels = (255 * torch.rand(shape)).to(device).contiguous(memory_format=torch.channels_last)
        capacities = capacities_of_step(recipe.method, schedule, recipe.seed, schedule.first_round)
        joint.prunable.train()
        for _ in range(_TRIED):
            began = time.monotonic()
            joint.follow(pixels, capacities).tolist()
            seconds = time.monotonic() - began
    for parameter in joint.parameters:
        parameter.grad = None
    joint.prunable.forget()
    return seconds
