"""Slow, independent figures of the official protocols: one query at a time, lists and sets, no arrays."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def ranked(scores: Sequence[float], ignored: Collection[int] = ()) -> list[int]:
    """Gallery items, best first; equal scores keep the order of the gallery; ignored ones are gone."""
    order = list(range(len(scores)))
    order.sort(key=lambda item: scores[item], reverse=True)  # a stable sort keeps the order among equals
    return [item for item in order if item not in set(ignored)]


def trapezoid_precision(order: Sequence[int], right: Collection[int]) -> float:
    """Area under the precision-recall curve, one trapezoid for each step of the recall; starts at precision 1."""
    area, recall, precision = 0.0, 0.0, 1.0
    for length in range(1, len(order) + 1):
        hits = len([item for item in order[:length] if item in right])
        new_recall, new_precision = hits / len(right), hits / length
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    return area


def step_precision(order: Sequence[int], right: Collection[int]) -> float:
    """Mean over the right items of the precision of the list that ends with each."""
    ends = [order.index(item) + 1 for item in right]
    return math.fsum(len(set(order[:end]) & set(right)) / end for end in ends) / len(right)


def first_precision(order: Sequence[int], right: Collection[int], cutoff: int) -> float:
    """1 / min(#right, cutoff) * sum over ranks up to the cutoff of precision(rank) where the item is right."""
    total = 0.0
    for rank in range(1, min(cutoff, len(order)) + 1):
        if order[rank - 1] in right:
            total += sum(item in right for item in order[:rank]) / rank
    return total / min(len(right), cutoff)


def recall(order: Sequence[int], right: Collection[int], k: int) -> float:
    """1 if anything right is among the first k."""
    return 1.0 if set(order[:k]) & set(right) else 0.0


def precision(order: Sequence[int], right: Collection[int], k: int) -> float:
    """Share of right items among the first k, or among those up to the last right item where that comes sooner."""
    last = max(order.index(item) for item in right) + 1
    length = min(k, last)
    return len(set(order[:length]) & set(right)) / length


def mean(values: Sequence[float | None]) -> tuple[float, int, int]:
    """Mean of what is not None, how many were, how many were not."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known), len(known), len(values) - len(known)
