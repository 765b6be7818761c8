"""Training steps on a GPU as CUDA graphs.

A step of a small encoder and its subnetworks is thousands of kernels of a few microseconds each; a GPU is done with one
before Python has asked for the next. Recorded once, all of them are launched at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from prunnet.train.step.step import JointStep

MOST_RECORDINGS = 64
CHECKS = 2
"""Replays of a recording that are compared with the same step run operation by operation."""
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.2}
"""Largest difference of the joint gradient, in its own length. On a small resnet18 the last bit of the weights made
1e-6 of the gradient in float32, and 0.06 in bfloat16."""

_Key = tuple[bool, tuple[float, ...], torch.Size]
_Step = Callable[[list[Tensor]], Tensor]


class Recording(Protocol):
    """A step that can be run again on other inputs."""

    def replay(self, inputs: list[Tensor]) -> Tensor:
        """Run it on inputs of the same shapes; sets the parameters' gradients, returns the losses, float32 [losses]."""


class Recorder(Protocol):
    """Makes recordings of one encoder's steps."""

    def record(self, inputs: list[Tensor], step: _Step) -> Recording:
        """Record a step that has been run before; recording runs nothing.

        Raises:
            RuntimeError: It cannot be recorded.
        """


@dataclass
class _Known:
    """What is known of the steps of one shape."""

    recording: Recording | None = None
    checks: int = CHECKS


class GraphedStep:
    """Runs a joint step, and on a GPU replays what comes up again.

    A step with subnetworks and a batch of the same shapes as an earlier one is recorded the second time and replayed
    from then on. The first replays are compared with the step itself. An encoder that cannot be recorded, or not
    faithfully, is trained operation by operation from there on, with a warning. On a CPU, and among the processes of
    `torchrun`, every step is run so.

    Args:
        joint: Its parameters stay where they are in memory as long as this is used.
        recorder: None takes CUDA graphs where the encoder is on a GPU and trained by one process.
    """

    def __init__(self, joint: JointStep, recorder: Recorder | None = None) -> None:
        self.joint = joint
        if recorder is None and joint.parameters[0].is_cuda and not dist.is_initialized():
            recorder = _GraphRecorder(joint)
        self._recorder = recorder
        self._known: dict[_Key, _Known] = {}

    @property
    def recorded(self) -> int:
        """How many steps of different shapes have been recorded."""
        return sum(known.recording is not None for known in self._known.values())

    def __call__(self, pixels: Tensor, labels: Tensor, capacities: Sequence[float]) -> list[float]:
        """Do the same as `JointStep`; returns the losses."""
        joint = self.joint
        return self._run(
            False, capacities, [pixels, labels], lambda given: joint(given[0], given[1], capacities)
        )

    def follow(self, pixels: Tensor, capacities: Sequence[float]) -> list[float]:
        """Do the same as `JointStep.follow`; returns the losses."""
        joint = self.joint
        return self._run(True, capacities, [pixels], lambda given: joint.follow(given[0], capacities))

    def _run(
        self, follows: bool, capacities: Sequence[float], inputs: list[Tensor], step: _Step
    ) -> list[float]:
        key = self._key(follows, capacities, inputs)
        losses = step(inputs) if key is None else self._replayed(key, inputs, step)
        return [float(loss) for loss in losses.tolist()]

    def _key(self, follows: bool, capacities: Sequence[float], inputs: list[Tensor]) -> _Key | None:
        """Return what makes two steps the same; None for a step that is not to be recorded."""
        if self._recorder is None:
            return None
        prunable, listed = self.joint.prunable, self.joint.method.capacities
        if self.joint.method.draw == "sandwich" and capacities and capacities[0] != listed[0]:
            return None  # one of thousands of pairs would hardly be replayed
        if prunable.granularity == "channel":  # capacities with equal widths are one subnetwork
            return follows, tuple(prunable.at(c).achieved for c in capacities), inputs[0].shape
        # A mask for each of the hundreds of capacities that may be drawn would hardly be replayed.
        if not all(c in listed for c in capacities):
            return None
        return follows, tuple(capacities), inputs[0].shape

    def _replayed(self, key: _Key, inputs: list[Tensor], step: _Step) -> Tensor:
        known = self._known.get(key)
        if known is None:
            if len(self._known) < MOST_RECORDINGS:
                self._known[key] = _Known()
            return step(inputs)
        if known.recording is None:
            try:
                assert self._recorder is not None
                known.recording = self._recorder.record(inputs, step)
            except RuntimeError as error:
                return self._given_up(f"cannot be recorded ({error.__context__ or error})", inputs, step)
        if known.checks:
            known.checks -= 1
            return self._checked(known.recording, inputs, step)
        return known.recording.replay(inputs)

    def _checked(self, recording: Recording, inputs: list[Tensor], step: _Step) -> Tensor:
        """Run the recording and the step on the same state; what remains is what the step itself did."""
        buffers = list(self.joint.prunable.encoder.buffers())
        before = [buffer.clone() for buffer in buffers]
        device = inputs[0].device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            again = recording.replay(inputs).clone()
        replayed = [None if p.grad is None else p.grad.clone() for p in self.joint.parameters]
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        losses = step(inputs)
        gradients = [p.grad for p in self.joint.parameters]
        tolerance = _TOLERANCE["bf16" if self.joint.is_low(inputs[0]) else "fp32"]
        if not _close([losses], [again], tolerance) or not _close(gradients, replayed, tolerance):
            self._stop("is not the same when it is replayed")
        return losses

    def _given_up(self, why: str, inputs: list[Tensor], step: _Step) -> Tensor:
        self._stop(why)
        return step(inputs)

    def _stop(self, why: str) -> None:
        """Record and replay nothing any more."""
        self._recorder = None
        self._known.clear()
        warnings.warn(
            f"a training step of this encoder {why}: it is run operation by operation, slower", stacklevel=2
        )


def _close(wanted: Sequence[Tensor | None], found: Sequence[Tensor | None], tolerance: float) -> bool:
    """Tell whether two lists of tensors, taken as one vector each, agree; where one has none, both must."""
    difference, length = 0.0, 0.0
    for one, other in zip(wanted, found, strict=True):
        if one is None or other is None:
            if one is not other:
                return False
            continue
        difference += float((one - other).square().sum())
        length += float(one.square().sum())
    return bool(difference**0.5 <= tolerance * length**0.5 + 1e-12)


class _GraphRecorder:
    """Records steps of one encoder as CUDA graphs, which share their inputs, gradients and working memory."""

    def __init__(self, joint: JointStep) -> None:
        self._prunable, self._parameters = joint.prunable, joint.parameters
        self._inputs: dict[tuple[torch.Size, ...], list[Tensor]] = {}
        self._gradients: list[Tensor] = []
        self._pool: Any = None

    def record(self, inputs: list[Tensor], step: _Step) -> Recording:
        """Do what `Recorder` says."""
        held = self._inputs.setdefault(
            tuple(each.shape for each in inputs), [each.clone() for each in inputs]
        )
        self._gradients = self._gradients or [torch.zeros_like(parameter) for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        graph, reached, stream = torch.cuda.CUDAGraph(), set(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses = step(held)
                for number, parameter in enumerate(self._parameters):
                    if parameter.grad is not None:
                        reached.add(number)
                        self._gradients[number].copy_(parameter.grad)
                        parameter.grad = None
        finally:
            torch.cuda.set_stream(stream)  # where recording fails, torch leaves its own
            self._prunable.forget()  # what was ranked in a recording is there only while it is replayed
        self._pool = graph.pool()
        gradients = [g if number in reached else None for number, g in enumerate(self._gradients)]
        return _Graph(graph, held, losses, self._parameters, gradients)


@dataclass(frozen=True)
class _Graph:
    """A recorded step, and where in memory it reads its inputs and writes its losses and gradients."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    losses: Tensor
    parameters: list[Tensor]
    gradients: list[Tensor | None]

    def replay(self, inputs: list[Tensor]) -> Tensor:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.losses
