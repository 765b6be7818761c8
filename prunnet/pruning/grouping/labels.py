"""Labels: which channel each element of a tensor belongs to.

The labels of a tensor are a tuple of integer arrays of the tensor's rank. An array has the tensor's size in dimensions
along which the channel changes and size 1 in all others. No two arrays of a tensor change along the same dimension. A
number stands for a position of some parameter's dimension; `Book` knows which numbers are one channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Labels = tuple[Numbers, ...]
NOTHING: Labels = ()


def varying(array: Numbers) -> tuple[int, ...]:
    """Return the dimensions along which an array of labels changes."""
    return tuple(d for d, size in enumerate(array.shape) if size > 1)


def compressed(array: Numbers) -> Numbers:
    """Give size 1 to every dimension along which nothing changes."""
    for d in varying(array):
        first = array.take([0], axis=d)
        if np.array_equal(np.broadcast_to(first, array.shape), array):
            array = first
    return array


def tidy(arrays: Iterable[Numbers]) -> Labels:
    """Return compressed arrays without those that change nowhere."""
    return tuple(a for a in map(compressed, arrays) if a.size > 1)


def along(labels: Labels, dim: int) -> Numbers | None:
    """Return the array that changes along one dimension, if there is one."""
    return next((a for a in labels if a.shape[dim] > 1), None)


def without(array: Numbers, dims: Iterable[int]) -> Numbers:
    """Take the first entry of some dimensions, which keep size 1."""
    for d in dims:
        array = array.take([0], axis=d)
    return array


def aligned(array: Numbers, rank: int) -> Numbers:
    """Put dimensions of size 1 in front, as broadcasting does."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def reshaped(array: Numbers, old: Sequence[int], new: Sequence[int]) -> Numbers:
    """Return the labels of a tensor that is viewed in another shape.

    Only blocks of dimensions that an array changes along are spread out to the tensor's full size.

    Args:
        array: Of the tensor before.
        old: The tensor's shape before.
        new: Its shape after; as many elements.
    """
    spread: list[int] = []
    shape: list[int] = []
    for left, right in _blocks(old, new):
        changes = any(array.shape[d] > 1 for d in left)
        spread += [old[d] if changes else 1 for d in left]
        shape += [new[d] if changes else 1 for d in right]
    return np.broadcast_to(array, spread).reshape(shape)


def _blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Pair the smallest runs of dimensions that hold the same number of elements."""
    blocks: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [], []
        if i < len(old):
            left.append(i)
            i += 1
        if j < len(new):
            right.append(j)
            j += 1
        while math.prod(old[d] for d in left) != math.prod(new[d] for d in right):
            if math.prod(old[d] for d in left) < math.prod(new[d] for d in right):
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        blocks.append((left, right))
    return blocks
