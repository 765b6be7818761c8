"""Which gallery items are right for a query, and which do not count: made for a few queries at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime_py.arrays import Labels, Mask


class Truth(Protocol):
    """One way to judge queries."""

    @property
    def name(self) -> str:
        """Name of the split or difficulty."""

    @property
    def queries(self) -> Labels:
        """int64 [n], the numbers of the queries that it judges."""

    def masks(self, queries: Labels) -> tuple[Mask, Mask | None]:
        """Judge some queries.

        Args:
            queries: int64 [n], numbers of queries.

        Returns:
            relevant bool [n, G]; ignored bool [n, G], items that are taken out of a query's gallery, or None.
        """


@dataclass(frozen=True, eq=False)
class LabelTruth:
    """Right is what has the query's label.

    Attributes:
        query_labels: int64 [Q].
        gallery_labels: int64 [G].
        same_set: Query i is gallery item i and never retrieves itself.
        query_cameras: int64 [Q]; items of the query's label *and* camera do not count.
        gallery_cameras: int64 [G]; goes with `query_cameras`.
        name: Of the split.
    """

    query_labels: Labels
    gallery_labels: Labels
    same_set: bool = False
    query_cameras: Labels | None = None
    gallery_cameras: Labels | None = None
    name: str = "all"

    @property
    def queries(self) -> Labels:
        """All of them."""
        return np.arange(len(self.query_labels))

    def masks(self, queries: Labels) -> tuple[Mask, Mask | None]:
        """Judge some queries; see `Truth`."""
        relevant = self.query_labels[queries, None] == self.gallery_labels
        ignored: Mask | None = None
        if self.same_set:
            ignored = queries[:, None] == np.arange(len(self.gallery_labels))
        if self.query_cameras is not None and self.gallery_cameras is not None:
            filmed = relevant & (self.query_cameras[queries, None] == self.gallery_cameras)
            ignored = filmed if ignored is None else ignored | filmed
        return relevant, ignored


@dataclass(frozen=True, eq=False)
class ListTruth:
    """Right is what a list names.

    Attributes:
        name: Of the split.
        queries: int64 [n], the queries that it judges.
        relevant: For every query of the task, the gallery items that are right; empty for those not judged.
        ignored: The same for junk; None where the protocol has none.
        gallery: Number of gallery items.
    """

    name: str
    queries: Labels
    relevant: tuple[Labels, ...]
    ignored: tuple[Labels, ...] | None
    gallery: int

    def masks(self, queries: Labels) -> tuple[Mask, Mask | None]:
        """Judge some queries; see `Truth`."""
        return self._mask(self.relevant, queries), (
            None if self.ignored is None else self._mask(self.ignored, queries)
        )

    def _mask(self, lists: tuple[Labels, ...], queries: Labels) -> Mask:
        mask = np.zeros((len(queries), self.gallery), dtype=bool)
        for row, query in enumerate(queries):
            mask[row, lists[query]] = True
        return mask
