"""Exact top-k search: block by block, so that only candidates that may still enter a list are sorted."""

from __future__ import annotations

import numpy as np

from runtime_py.arrays import Floats, Labels
from runtime_py.retrieval.ranks import top_k

_QUERIES = 1024
_ITEMS = 4096
"""Scores of one block are 16 MiB: large enough for a fast product, small enough to stay near the processor."""
_CROWDED = 4
"""Candidates for each place of a list, from which on sorting whole rows is the cheaper way."""


def search(queries: Floats, gallery: Floats, k: int) -> Labels:
    """Return the `k` gallery items of largest inner product for each query, best first.

    Ranks by the rule of `runtime_py.retrieval.ranks`: among equal scores the smaller index first. The scores are
    float32 products of blocks, and the sums are not in the same order at every place of a block. So the scores of two
    equal rows are equal within rounding, not always to the bit, and which of the two comes first is not promised.

    Memory beside the arguments does not depend on the size of the gallery or the number of queries, but on `k`:
    measured at most 135 MiB for k up to 100, 330 MiB for 1,000, 740 MiB for 8,000.

    Args:
        queries: float32 [Q, D], finite.
        gallery: float32 [G, D], finite.
        k: At least 1, at most G.

    Returns:
        int64 [Q, k].

    Raises:
        ValueError: `k` is out of its range.

    >>> search(np.eye(2, dtype=np.float32), np.array([[0, 1], [1, 0], [0, 1]], np.float32), 2).tolist()
    [[1, 0], [0, 2]]
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k is {k}; a gallery of {len(gallery)} items allows 1..{len(gallery)}")
    parts = [
        _best(queries[start : start + _QUERIES], gallery, k) for start in range(0, len(queries), _QUERIES)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, k), np.int64)


def _best(queries: Floats, gallery: Floats, k: int) -> Labels:
    """Search for one block of queries: the first items fill the lists, later ones must beat a list's last."""
    first = max(k, _ITEMS // 4)
    scores = queries @ gallery[:first].T
    items = top_k(scores, k)
    best = np.take_along_axis(scores, items, axis=1)
    for start in range(first, len(gallery), _ITEMS):
        scores = queries @ gallery[start : start + _ITEMS].T
        # An equal score has a larger index than what is in the list, so it does not enter.
        row, column = np.divmod(np.flatnonzero(scores > best[:, -1:]), scores.shape[1])
        if len(row) > _CROWDED * k * len(queries):  # a gallery in ascending order: sort each row but once
            row = np.repeat(np.arange(len(queries)), min(k, scores.shape[1]))
            column = top_k(scores, min(k, scores.shape[1])).reshape(-1)
        _enter(best, items, row, scores[row, column], start + column)
    return items


def _enter(best: Floats, items: Labels, row: Labels, score: Floats, item: Labels) -> None:
    """Let candidates enter the lists, in place.

    Args:
        best: float32 [Q, k], the scores of each list, descending.
        items: int64 [Q, k], their items.
        row: int64 [C], the list of each candidate, ascending.
        score: float32 [C].
        item: int64 [C].
    """
    touched, place = np.unique(row, return_inverse=True)
    k = best.shape[1]
    rows = np.concatenate([np.repeat(np.arange(len(touched)), k), place])
    scores = np.concatenate([best[touched].reshape(-1), score])
    found = np.concatenate([items[touched].reshape(-1), item])
    order = np.lexsort((found, -scores, rows))
    counts = np.bincount(rows)
    ahead = np.cumsum(counts) - counts
    kept = order[ahead[:, None] + np.arange(k)]
    best[touched], items[touched] = scores[kept], found[kept]
