"""One run's networks and optimizer, and what its recipe makes of each step."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path

from torch import Tensor, nn

from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.recipe.schedule import learning_rate
from prunnet.train.step.graphs import GraphedStep
from prunnet.train.step.optimizer import new_optimizer
from prunnet.train.step.step import JointStep
from prunnet.train.watch.health import check_step, warn_of_early_start
from prunnet.train.watch.log import StepRecord


class Trainer:
    """Takes the steps of a run, one after the other.

    Args:
        recipe: The run, in steps.
        classes: Number of training classes.
        joint: The networks; they stay where they are in memory.
        out: Folder of the run, for errors.
        speaks: Whether this process warns.

    Attributes:
        done: Steps taken; set it where a run is resumed.
    """

    def __init__(
        self, recipe: Recipe, classes: int, joint: JointStep, out: Path, speaks: bool = True
    ) -> None:
        self.joint, self.done = joint, 0
        self.optimizer = new_optimizer(joint, recipe.schedule)
        self._method, self._schedule, self._seed = recipe.method, recipe.schedule, recipe.seed
        self._graphed = GraphedStep(joint)
        self._classes, self._out, self._speaks = classes, out, speaks

    def step(self, batch: tuple[Tensor, Tensor]) -> StepRecord:
        """Take the next step.

        Args:
            batch: float32 [N, 3, H, W] raw RGB in 0..255 and int64 [N] labels, where the networks are.

        Raises:
            TrainingError: A loss or the gradient is not finite; nothing has been changed by it.
        """
        method, schedule, joint, step = self._method, self._schedule, self.joint, self.done
        capacities = self._capacities(step)
        started = bool(capacities) and not (step and self._capacities(step - 1))
        if started and step and method.scores == "magnitude":
            joint.prunable.reset_scores("magnitude")
        follows = step >= schedule.first_round
        joint.prunable.train()
        rate = learning_rate(schedule, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pixels, labels = batch
        graphed = self._graphed
        losses = graphed.follow(pixels, capacities) if follows else graphed(pixels, labels, capacities)
        length = float(nn.utils.clip_grad_norm_(joint.parameters, schedule.clip))
        named = self._named(losses, capacities, follows)
        check_step(step, named, length, self._out)
        if started and method.objective == "embedding" and self._speaks and not follows:
            warn_of_early_start(step, losses[0], self._classes)
        self.optimizer.step()
        self.done += 1
        return StepRecord(named, rate, length, schedule.batch_size)

    def _capacities(self, step: int) -> tuple[float, ...]:
        return capacities_of_step(self._method, self._schedule, self._seed, step)

    def _named(self, losses: list[float], capacities: tuple[float, ...], follows: bool) -> dict[str, float]:
        """Return "dense" and each trained capacity -> loss; those drawn between them have one mean."""
        names = [str(c) if c in self._method.capacities else "between" for c in capacities]
        of_each = defaultdict[str, list[float]](list)
        for name, loss in zip(names if follows else ["dense", *names], losses, strict=True):
            of_each[name].append(loss)
        return {name: statistics.fmean(found) for name, found in of_each.items()}
