"""Slow, independent figures of pairs of encoders: one query at a time, lists and dictionaries."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.oracles.retrieval import average_precision, ranked

Vectors = Sequence[Sequence[float]]


def every_query(queries: Vectors, gallery: Vectors, labels: Sequence[int]) -> list[tuple[float, bool] | None]:
    """(average precision, first item right) of each query; None where nothing shares its label."""
    result: list[tuple[float, bool] | None] = []
    for q, query in enumerate(queries):
        scores = [math.fsum(a * b for a, b in zip(query, item, strict=True)) for item in gallery]
        relevant = [label == labels[q] for label in labels]
        itself = [g == q for g in range(len(gallery))]
        first = ranked(scores, itself)[0]
        found = average_precision(scores, relevant, itself)
        result.append(None if math.isnan(found) else (found, relevant[first]))
    return result


def mean_points(values: Sequence[float]) -> float:
    """Mean in points."""
    return 100 * math.fsum(values) / len(values)


def flips(before: Sequence, after: Sequence) -> tuple[float, float]:
    """(right before and wrong after, wrong before and right after), in points of the queries that count."""
    pairs = [(b[1], a[1]) for b, a in zip(before, after, strict=True) if b is not None]
    return (
        mean_points([was and not now for was, now in pairs]),
        mean_points([now and not was for was, now in pairs]),
    )
