"""Retrieving every image from all the others, for many pairs of embeddings of the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Doubles, Floats, Labels
from runtime_py.retrieval.ranks import precisions_at, ranks_of

_ROWS = 256
"""Queries scored at once."""


@dataclass(frozen=True, eq=False)
class PerQuery:
    """Figures of each query in [0, 1]; NaN for a query with nothing to find."""

    precision: Doubles
    """float64 [Q], average precision."""
    hit: Doubles
    """float64 [Q], 1 where the first item is relevant (Recall@1)."""

    @property
    def map(self) -> float:
        """Mean average precision, in points (0..100)."""
        return points(self.precision)

    @property
    def recall_at_1(self) -> float:
        """Mean Recall@1, in points (0..100)."""
        return points(self.hit)


class LeaveOneOut:
    """Each image is a query against all the others. What is relevant is looked up once, not for each pair.

    Args:
        labels: int64 [N]; relevant is what has the query's label.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._relevant = [
            _relevant(labels, start, min(start + _ROWS, len(labels)))
            for start in range(0, len(labels), _ROWS)
        ]

    def measure(self, queries: Floats, gallery: Floats) -> PerQuery:
        """Retrieve.

        Args:
            queries: float32 [N, D], unit length.
            gallery: float32 [N, D], unit length, the same images in the same order.
        """
        precisions, hits = [], []
        for number, (query, item) in enumerate(self._relevant):
            start = number * _ROWS
            scores = queries[start : start + _ROWS] @ gallery.T
            rows = np.arange(len(scores))
            scores[rows, start + rows] = -np.inf  # never itself
            rank = ranks_of(scores, query, item)
            precisions.append(precisions_at(query, rank, len(rows)))
            hit = np.zeros(len(rows))
            hit[query[rank == 0]] = 1
            hits.append(np.where(np.isnan(precisions[-1]), np.nan, hit))
        return PerQuery(np.concatenate(precisions), np.concatenate(hits))


def points(values: npt.NDArray[np.float64]) -> float:
    """Return the mean of what is not NaN, in points with two decimals."""
    return round(100 * float(np.nanmean(values)), 2)


def _relevant(labels: Labels, start: int, stop: int) -> tuple[Labels, Labels]:
    """Return (query counted from `start`, item) of every relevant pair, queries ascending."""
    relevant = labels[start:stop, None] == labels
    rows = np.arange(stop - start)
    relevant[rows, start + rows] = False
    query, item = np.nonzero(relevant)
    return query, item
