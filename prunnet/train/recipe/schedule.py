"""The schedule of a run: how long it is and how fast it learns, step by step."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from prunnet.errors import TrainingError
from prunnet.yaml.numbers import (
    BatchSize,
    Duration,
    Factor,
    LearningRate,
    Milestone,
    Norm,
    Share,
    ShareBelowOne,
    Steps,
    WarmUp,
    WeightDecay,
)
from runtime_py.record import Record

_WARMUP_STEPS = 200


class FollowSpec(Record):
    """The second round: the dense encoder is frozen, and its subnetworks learn its embedding."""

    steps: Steps
    """Steps of the second round."""
    learning_rate: LearningRate
    """Highest learning rate, after a linear rise over a tenth of the steps."""
    turned: Share = 0.0
    """Share of each batch that is turned or mirrored. The second round needs no labels, and pictures that the dense
    encoder has not memorised are closer to what a server will see."""


class ScheduleSpec(Record):
    """Length and learning rate. The length of the first round is given in `steps` or in `epochs`, not both."""

    steps: Steps | None = None
    """Steps of the first round."""
    epochs: Steps | None = None
    """Epochs of the first round. An epoch shows each picture once and drops a last short batch."""
    follow: FollowSpec | None = None
    """The second round, for `method.subnetworks: after`. If absent, it has twice the steps of the first round, at the
    same learning rate."""
    batch_size: BatchSize = 128
    """Pictures in each step, over all processes."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with Nesterov's momentum, or AdamW."""
    learning_rate: LearningRate = 0.1
    """Highest learning rate, reached after the warm-up."""
    momentum: ShareBelowOne = 0.9
    """Momentum of sgd (0: none), or the first beta of adamw."""
    weight_decay: WeightDecay = 5e-4
    """Decay of weight matrices and kernels. Biases, norms, scores and adapters do not decay."""
    decay: Literal["cosine", "steps"] = "cosine"
    """The learning rate follows a cosine down to zero, or falls at each milestone."""
    milestones: tuple[Milestone, ...] = ()
    """Where `decay: steps` lowers the learning rate, in the unit of the round's length: steps or epochs."""
    factor: float = Field(default=0.1, strict=True, gt=0, lt=1)
    """What each milestone multiplies the learning rate by."""
    warmup_steps: WarmUp | None = None
    """Steps over which the learning rate rises; 200 if neither warm-up is given."""
    warmup_epochs: Duration | None = None
    """The same, in epochs."""
    clip: Norm = 10.0
    """Largest norm of the joint gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the passes; weights and gradients stay float32. `auto` is bf16 on a GPU and fp32 on a CPU."""
    classifier: Literal["linear", "cosine"] = "linear"
    """Logits: an affine map of the embedding, or scaled cosines with the class vectors."""
    scale: Factor = 16.0
    """Scale of the cosine logits."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> ScheduleSpec:
        given = "neither is given" if self.steps is None else "both are given"
        length, unit = (self.steps, "steps") if self.epochs is None else (self.epochs, "epochs")
        late = [m for m in self.milestones if length is not None and m >= length]
        checks = {
            f"steps and epochs: {given}; allowed: exactly one of the two": (
                (self.steps is None) == (self.epochs is None)
            ),
            "warmup_steps and warmup_epochs: both are given; allowed: at most one of the two": (
                self.warmup_steps is not None and self.warmup_epochs is not None
            ),
            "milestones: go with decay steps, and only with it; allowed: decay: steps with milestones": (
                (self.decay == "steps") != bool(self.milestones)
            ),
            "factor: has no effect without milestones; allowed: decay steps": (
                self.decay != "steps" and self.factor != type(self).model_fields["factor"].default
            ),
            "scale: has no effect on affine logits; allowed: classifier cosine": (
                self.classifier != "cosine" and self.scale != type(self).model_fields["scale"].default
            ),
            "milestones: not ascending; allowed: each milestone once, ascending": (
                list(self.milestones) != sorted(set(self.milestones))
            ),
            f"milestones: {max(late, default=0):g} is not before the end; allowed: {unit} below {length}": bool(
                late
            ),
        }
        wrong = [problem for problem, is_there in checks.items() if is_there]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def for_items(self, items: int) -> ScheduleSpec:
        """Return this schedule in steps.

        Args:
            items: Number of training items.

        Returns:
            A schedule with `steps` and `warmup_steps`, and milestones in steps; the same learning rates.
        """
        epoch = self.steps_per_epoch(items)
        warmup = self.warmup_steps if self.warmup_epochs is None else round(self.warmup_epochs * epoch)
        update: dict[str, Any] = {
            "warmup_steps": _WARMUP_STEPS if warmup is None else warmup,
            "warmup_epochs": None,
        }
        if self.epochs is not None:
            milestones = tuple(milestone * epoch for milestone in self.milestones)
            update |= {"steps": self.epochs * epoch, "epochs": None, "milestones": milestones}
        return self.model_copy(update=update)

    def steps_per_epoch(self, items: int) -> int:
        """Return the whole batches in one pass over the items, at least 1."""
        return max(1, items // self.batch_size)

    @property
    def first_round(self) -> int:
        """Steps of the first round.

        Raises:
            TrainingError: The length is in epochs, and nobody has said of how many items.
        """
        if self.steps is None:
            raise TrainingError(
                f"{self.epochs} epochs are a number of steps only for a number of items; "
                "use schedule.for_items(items)"
            )
        return self.steps

    @property
    def total(self) -> int:
        """Steps of both rounds; as `first_round`."""
        return self.first_round + (self.follow.steps if self.follow else 0)

    def followed(self) -> ScheduleSpec:
        """Return this schedule with a second round, the usual one where none is given; as `first_round`."""
        if self.follow:
            return self
        usual = FollowSpec(steps=2 * self.first_round, learning_rate=self.learning_rate)
        return self.model_copy(update={"follow": usual})

    def alone(self) -> ScheduleSpec:
        """Return one round that is as long as both; as `first_round`."""
        if not self.follow:
            return self
        longer = self.total / self.first_round
        milestones = tuple(milestone * longer for milestone in self.milestones)
        return self.model_copy(update={"steps": self.total, "milestones": milestones, "follow": None})


def learning_rate(schedule: ScheduleSpec, step: int) -> float:
    """Return the learning rate of a 0-based step.

    First round: a linear warm-up, under a cosine down to zero or a fall at each milestone. Second: a warm-up and a
    cosine of its own.

    Args:
        schedule: In steps (`ScheduleSpec.for_items`).
        step: Of both rounds.
    """
    steps = schedule.first_round
    if schedule.follow and step >= steps:
        done = (step - steps) / schedule.follow.steps
        return (
            schedule.follow.learning_rate * min(1.0, 10 * (done + 1 / schedule.follow.steps)) * _cosine(done)
        )
    warmup = _WARMUP_STEPS if schedule.warmup_steps is None else schedule.warmup_steps
    warm = min(1.0, (step + 1) / max(1, warmup))
    if schedule.decay == "cosine":
        return schedule.learning_rate * warm * _cosine(step / steps)
    fallen = sum(step >= milestone for milestone in schedule.milestones)
    return schedule.learning_rate * warm * schedule.factor**fallen


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))
