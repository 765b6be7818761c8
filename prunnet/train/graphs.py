"""Training steps on a GPU as CUDA graphs.

A step of a small encoder and its subnetworks is thousands of kernels of a few microseconds each; a GPU is done with one
before Python has asked for the next. Recorded once, all of them are launched at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from prunnet.train.step import JointStep

MOST_GRAPHS = 64

_Key = tuple[bool, tuple[float, ...], torch.Size]


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    losses: Tensor
    reached: set[int]
    """The numbers of the parameters that get a gradient."""


class GraphedStep:
    """Runs a joint step, and on a GPU replays what comes up again.

    A step with subnetworks and a batch of the same shapes as an earlier one is recorded the second time and replayed
    from then on. On a CPU, and among the processes of `torchrun`, every step is run as it is.

    Args:
        joint: Its parameters stay where they are in memory.
    """

    def __init__(self, joint: JointStep) -> None:
        self.joint = joint
        self._seen: dict[_Key, _Graph | None] = {}
        self._pool: Any = None
        self._gradients: list[Tensor] = []

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
        self,
        follows: bool,
        capacities: Sequence[float],
        inputs: list[Tensor],
        step: Callable[[list[Tensor]], Tensor],
    ) -> list[float]:
        if inputs[0].device.type != "cuda" or dist.is_initialized():
            return _floats(step(inputs))
        prunable = self.joint.prunable
        # Of channels, capacities with equal widths are one subnetwork; of masks, each is its own.
        cut = [prunable.achieved(c) if prunable.granularity == "channel" else c for c in capacities]
        key = follows, tuple(cut), inputs[0].shape
        losses = self._replayed(key, inputs, step) if key in self._seen else self._first(key, inputs, step)
        return _floats(losses)

    def _first(self, key: _Key, inputs: list[Tensor], step: Callable[[list[Tensor]], Tensor]) -> Tensor:
        if len(self._seen) < MOST_GRAPHS:
            self._seen[key] = None
        return step(inputs)

    def _replayed(self, key: _Key, inputs: list[Tensor], step: Callable[[list[Tensor]], Tensor]) -> Tensor:
        graph = self._seen[key]
        if graph is None:
            graph = self._seen[key] = self._record(inputs, step)
        for held, given in zip(graph.inputs, inputs, strict=True):
            held.copy_(given)
        graph.graph.replay()
        for number, parameter in enumerate(self.joint.parameters):
            parameter.grad = self._gradients[number] if number in graph.reached else None
        return graph.losses

    def _record(self, inputs: list[Tensor], step: Callable[[list[Tensor]], Tensor]) -> _Graph:
        """Record a step that has been run once. Recording runs nothing."""
        held = [each.clone() for each in inputs]
        parameters = self.joint.parameters
        self._gradients = self._gradients or [torch.zeros_like(parameter) for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        graph, reached = torch.cuda.CUDAGraph(), set()
        with torch.cuda.graph(graph, pool=self._pool):
            losses = step(held)
            for number, parameter in enumerate(parameters):
                if parameter.grad is not None:
                    reached.add(number)
                    self._gradients[number].copy_(parameter.grad)
                    parameter.grad = None
        self._pool = graph.pool()
        return _Graph(graph, held, losses, reached)


def _floats(losses: Tensor) -> list[float]:
    return [float(loss) for loss in losses.tolist()]
