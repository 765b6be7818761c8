"""Slow, independent retrieval metrics: plain Python loops over sorted lists, one query at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def ranked(scores: Sequence[float], ignored: Sequence[bool] | None = None) -> list[int]:
    """Gallery indices by score, highest first, ties by index; ignored items left out."""
    kept = [i for i in range(len(scores)) if ignored is None or not ignored[i]]
    return sorted(kept, key=lambda i: (-scores[i], i))


def average_precision(scores: Sequence[float], relevant: Sequence[bool], ignored=None) -> float:
    """Mean of precision@rank over the ranks of relevant items; NaN without any."""
    found, total = 0, 0.0
    for rank, item in enumerate(ranked(scores, ignored), start=1):
        if relevant[item]:
            found += 1
            total += found / rank
    return total / found if found else math.nan


def recall_at_k(scores: Sequence[float], relevant: Sequence[bool], k: int, ignored=None) -> float:
    """1 if a relevant item is among the first k, else 0; NaN without any relevant item."""
    order = ranked(scores, ignored)
    if not any(relevant[item] for item in order):
        return math.nan
    return float(any(relevant[item] for item in order[:k]))


def overlap(left: Sequence[float], right: Sequence[float], k: int) -> float:
    """Fraction of the k nearest items that both rankings share."""
    return len(set(ranked(left)[:k]) & set(ranked(right)[:k])) / k


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine of two vectors by its definition."""
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b)))
