"""The book of what a forward pass says about channels: which go together, which must stay, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from prunnet.pruning.grouping.labels import Labels, Numbers, tidy, varying, without


@dataclass(frozen=True)
class Slot:
    """One dimension of one parameter or buffer, whose positions have the numbers first, first + 1, ...

    Attributes:
        tensor: Name in the encoder's state dict.
        dim: The dimension.
        first: Number of its position 0.
        size: How many positions it has, > 1.
    """

    tensor: str
    dim: int
    first: int
    size: int


@dataclass(frozen=True)
class Size:
    """A size that a module's own code gave to an operation: `array` changes along `dim`, which has `value` entries."""

    module: str
    value: int
    array: Numbers
    dim: int


class Book:
    """Collects while the encoder runs; `prunnet.pruning.grouping.resolve` reads it afterwards."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.count = 0
        self.pairs: list[tuple[Numbers, Numbers]] = []
        self.kept: list[tuple[Numbers, str]] = []
        """What must keep its full width, and why."""
        self.tied: list[tuple[Numbers, str]] = []
        """What can only go as a whole, and why."""
        self.made: list[Numbers] = []
        """Positions of weights that make channels."""
        self.read: list[Numbers] = []
        """Positions of weights that read channels."""
        self.blocks: dict[bytes, Numbers] = {}
        """Arrays that change along several dimensions: what is left must be a block again."""
        self.sizes: list[Size] = []
        self.order: list[str] = []
        """Convolutions and linear layers in the order in which groups are named after them."""

    def enter(self, name: str, shape: Sequence[int]) -> Labels:
        """Number the positions of a parameter or buffer and return its labels."""
        labels = []
        for dim, size in enumerate(shape):
            if size > 1:
                self.slots.append(Slot(name, dim, self.count, size))
                labels.append(self._numbers(size).reshape([-1 if d == dim else 1 for d in range(len(shape))]))
        return tuple(labels)

    def constant(self, why: str) -> Numbers:
        """Return one number for elements that are always there."""
        number = self._numbers(1)
        self.keep(number, why)
        return number

    def _numbers(self, size: int) -> Numbers:
        self.count += size
        return np.arange(self.count - size, self.count, dtype=np.int64)

    def join(self, a: Numbers, b: Numbers) -> None:
        """Say that elements go together, one by one, after broadcasting."""
        if a is not b:
            left, right = np.broadcast_arrays(a, b)
            self.pairs.append((left.reshape(-1), right.reshape(-1)))

    def tie(self, array: Numbers, dims: Iterable[int], why: str) -> Numbers:
        """Let everything along some dimensions go as a whole; returns the first entry of each."""
        dims = [d for d in dims if array.shape[d] > 1]
        first = without(array, dims)
        if dims:
            self.join(array, first)
            self.tied.append((array.reshape(-1), why))
        return first

    def keep(self, array: Numbers, why: str) -> None:
        """Keep channels at full width."""
        self.kept.append((array.reshape(-1), why))

    def merge(self, arrays: Iterable[Numbers]) -> Labels:
        """Return labels of one tensor out of arrays of the same rank; those that share a dimension go together."""
        result: list[Numbers] = []
        for array in arrays:
            shared = [a for a in result if set(varying(a)) & set(varying(array))]
            result = [a for a in result if not any(a is s for s in shared)]
            for other in shared:
                self.join(array, other)
                array = np.broadcast_to(
                    max(array, other, key=lambda a: a.size), np.broadcast_shapes(array.shape, other.shape)
                )
            result.append(array)
        labels = tidy(result)
        for array in labels:
            if len(varying(array)) > 1:
                self.blocks.setdefault(repr(array.shape).encode() + array.tobytes(), array)
        return labels

    def module_of(self, number: int) -> str:
        """Return the module whose parameter or buffer a number counts a position of; "" for a constant."""
        for slot in self.slots:
            if slot.first <= number < slot.first + slot.size:
                return slot.tensor.rpartition(".")[0]
        return ""

    def size(self, module: str, value: int, array: Numbers, dim: int) -> None:
        """Note a size that a module's code asked for."""
        self.sizes.append(Size(module, value, array, dim))


def components(count: int, pairs: Sequence[tuple[Numbers, Numbers]]) -> Numbers:
    """Return for each number the smallest one that goes together with it, int64 [count].

    Example:
        >>> components(4, [(np.array([0, 1]), np.array([2, 2]))]).tolist()
        [0, 0, 0, 3]
    """
    least = np.arange(count, dtype=np.int64)
    if not pairs:
        return least
    a = np.concatenate([p for p, _ in pairs])
    b = np.concatenate([q for _, q in pairs])
    edges = np.unique(np.minimum(a, b) * count + np.maximum(a, b))
    a, b = edges // count, edges % count
    while True:
        of_a, of_b = least[a], least[b]
        apart = of_a != of_b
        if not apart.any():
            return least
        lower = np.minimum(of_a, of_b)[apart]
        np.minimum.at(least, of_a[apart], lower)
        np.minimum.at(least, of_b[apart], lower)
        while not np.array_equal(least[least], least):
            least = least[least]
