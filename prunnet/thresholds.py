"""The least score that is kept, for several counts at once and remembered until the scores change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


class Thresholds:
    """Thresholds of the scores' absolute values, by name.

    Those that a training step is going to ask for are found together (`expect`): a partition at several places costs
    little more than at one, and the tensors are shared out among the processor's cores. They are forgotten as soon as
    the scores are changed or replaced.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Tensor, int, dict[int, Tensor]]] = {}

    def expect(self, scores: Mapping[str, Tensor], counts: Mapping[str, Sequence[int]]) -> None:
        """Find thresholds in advance.

        Args:
            scores: float32 of any shape, by name. On a GPU nothing is done: there one at a time is fast enough.
            counts: For each name, how many entries are kept, each in 1..n.
        """
        on_cpu = [name for name in counts if scores[name].device.type == "cpu"]
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
            found = pool.map(lambda name: largest(scores[name].detach().abs(), counts[name]), on_cpu)
            for name, values in zip(on_cpu, found, strict=True):
                known = dict(zip(counts[name], values, strict=True))
                self._known[name] = (scores[name], scores[name]._version, known)

    def of(self, name: str, score: Tensor, count: int) -> Tensor:
        """Return the `count`-th largest absolute value of a tensor of scores, float32 []."""
        known = self._known.get(name)
        if known is not None and known[0] is score and known[1] == score._version and count in known[2]:
            return known[2][count]
        return largest(score.detach().abs(), [count])[0]


def largest(values: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Return the k-th largest value for each k. NumPy finds it on the CPU some ten times faster than torch does."""
    if values.device.type != "cpu":
        return [torch.topk(values.flatten(), count, sorted=False).values.min() for count in counts]
    in_memory = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    if not in_memory.is_contiguous():  # not channels_last: any order will do, a copy costs time
        in_memory = values
    flat = in_memory.flatten().numpy(force=True)
    places = [len(flat) - count for count in counts]
    return list(torch.from_numpy(np.partition(flat, sorted(set(places)))[places]))
