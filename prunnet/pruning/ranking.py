"""What is kept by score, for several counts at once and remembered until the scores change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Remembered:
    """What was made of tensors of scores, by name, until they are seen to be changed, replaced or moved.

    An optimizer that is fused changes tensors without a sign; whoever trains renews.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Tensor, int, Tensor]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Remembered:
        """Return one that remembers nothing: a copied tensor counts its changes from the start."""
        return Remembered()

    def of(self, name: str, score: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `make(score)`, a tensor on the same device."""
        known = self._made.get(name)
        if known is not None:
            source, version, made = known
            if source is score and version == score._version and made.device == score.device:
                return made
        return self.renew(name, score, make)

    def renew(self, name: str, score: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Do the same anew."""
        made = make(score.detach())
        self._made[name] = score, score._version, made
        return made

    def forget(self) -> None:
        """Free everything."""
        self._made.clear()


class Ranked:
    """Masks of the largest absolute values of a tensor of scores, by name; of equal ones those that come first.

    What a training step is going to ask for is found together (`expect`). On the CPU these are thresholds: each is
    looked for only above the last one, and the tensors are shared out among the processor's cores. On a GPU it is the
    rank of every score, sorted once for all counts without making the processor wait. Either holds until the scores
    are seen to be changed, as with `Remembered`.
    """

    def __init__(self) -> None:
        self._thresholds: dict[str, tuple[Tensor, int, dict[int, Tensor]]] = {}
        self._ranks = Remembered()

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranked:
        """Return one that remembers nothing, as `Remembered` does."""
        return Ranked()

    def expect(self, scores: Mapping[str, Tensor], counts: Mapping[str, Sequence[int]]) -> None:
        """Rank in advance.

        Args:
            scores: float32 of any shape, by name.
            counts: For each name, how many entries are kept, each in 1..n.
        """
        on_cpu = [name for name in counts if scores[name].device.type == "cpu"]
        for name in counts.keys() - on_cpu:
            self._ranks.renew(name, scores[name], ranks)
        if not on_cpu:
            return
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
            found = pool.map(lambda name: largest(scores[name].detach().abs(), counts[name]), on_cpu)
            for name, values in zip(on_cpu, found, strict=True):
                known = dict(zip(counts[name], values, strict=True))
                self._thresholds[name] = (scores[name], scores[name]._version, known)

    def forget(self) -> None:
        """Free everything."""
        self._thresholds.clear()
        self._ranks.forget()

    def mask(self, name: str, score: Tensor, count: int) -> Tensor:
        """Return bool of the scores' shape, true for the `count` of largest absolute value."""
        if score.device.type != "cpu":
            return self._ranks.of(name, score, ranks) < count
        sizes = score.detach().abs()
        threshold = self._threshold_of(name, score, count)
        kept = sizes >= threshold
        if int(np.count_nonzero(kept.numpy())) > count:
            above, tied = sizes > threshold, (sizes == threshold).flatten()
            kept = above | (tied & (tied.cumsum(0) <= count - above.sum())).view(sizes.shape)
        return kept

    def _threshold_of(self, name: str, score: Tensor, count: int) -> Tensor:
        known = self._thresholds.get(name)
        if known is not None and known[0] is score and known[1] == score._version and count in known[2]:
            return known[2][count]
        return largest(score.detach().abs(), [count])[0]


def by_size(score: Tensor) -> Tensor:
    """Return the places of a flattened tensor by absolute value, largest first, ties to the lower place: int64 [n]."""
    return torch.argsort(score.abs().flatten(), descending=True, stable=True)


def ranks(score: Tensor) -> Tensor:
    """Return how many entries go before each by absolute value, int64 of the scores' shape."""
    order = by_size(score)
    places = torch.arange(len(order), device=order.device)
    return torch.empty_like(order).scatter_(0, order, places).view(score.shape)


def largest(values: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Return the k-th largest value for each k, on the CPU.

    NumPy finds one some ten times faster than torch does, but several places at once ten times slower than one: so it
    is asked for one after the other, each time only of the part that still holds it.
    """
    in_memory = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    if not in_memory.is_contiguous():  # not channels_last: any order will do, a copy costs time
        in_memory = values
    rest = in_memory.flatten().numpy(force=True).copy()
    found: dict[int, float] = {}
    for count in sorted(set(counts), reverse=True):
        place = len(rest) - count
        rest.partition(place)
        found[count] = rest[place]
        rest = rest[place:]
    return list(torch.from_numpy(np.array([found[count] for count in counts])))
