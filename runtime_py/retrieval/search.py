"""Exact top-k search: block by block, so that only candidates that may still enter a list are sorted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime_py.arrays import Floats, Labels
from runtime_py.retrieval.ranks import top_k

_QUERIES = 1024
_ITEMS = 4096
"""Scores of one block are 16 MiB: large enough for a fast product, small enough to stay near the processor."""
_FIRST = 256
"""Items of the first block, whose rows are sorted whole."""
_CROWDED = 4
"""Candidates for each place of a list, from which on sorting whole rows is the cheaper way."""


def search(queries: Floats, gallery: Floats, k: int) -> Labels:
    """Return the `k` gallery items of largest inner product for each query, best first.

    Ranks by the rule of `runtime_py.retrieval.ranks`: among equal scores the smaller index first. The scores are
    float32 products of blocks, and the sums are not in the same order at every place of a block. So the scores of two
    equal rows are equal within rounding, not always to the bit, and which of the two comes first is not promised.

    Memory beside the arguments does not depend on the size of the gallery: the result, half as much again for its
    scores, and one block of up to 1,024 queries, whose size grows with `k`. Measured at most, for 1,000 queries and
    200,000 items: 125 MiB for k up to 100, 301 MiB for 1,000, 700 MiB for 8,000.

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
    return search_rows(queries, lambda start, stop: gallery[start:stop], len(gallery), k)


def search_rows(queries: Floats, gallery: Callable[[int, int], Floats], count: int, k: int) -> Labels:
    """Search a gallery that is made as it is needed; see `search`.

    Args:
        queries: float32 [Q, D], finite.
        gallery: Returns the items from one index up to another, float32 [N, D], finite; each is asked for once.
        count: Number of items, G.
        k: At least 1, at most G.

    Returns:
        int64 [Q, k].

    Raises:
        ValueError: `k` is out of its range.
    """
    if not 1 <= k <= count:
        raise ValueError(f"k is {k}; a gallery of {count} items allows 1..{count}")
    best, items = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    start, stop = 0, min(count, max(k, _FIRST))
    while start < count:
        block = gallery(start, stop).T
        for first in range(0, len(queries), _QUERIES):
            rows = slice(first, first + _QUERIES)
            scores = queries[rows] @ block
            if start:
                _update(best[rows], items[rows], scores, start)
            else:
                items[rows] = top_k(scores, k)
                best[rows] = np.take_along_axis(scores, items[rows], axis=1)
        # As many as were seen: of a gallery in any order, some k of them enter each list.
        start, stop = stop, min(count, stop + min(stop, _ITEMS))
    return items


def _update(best: Floats, items: Labels, scores: Floats, start: int) -> None:
    """Let what beats a list's last enter it, in place; the items of `scores` begin with number `start`."""
    k = best.shape[1]
    # An equal score has a larger index than what is in the list, so it does not enter.
    row, column = np.divmod(np.flatnonzero(scores > best[:, -1:]), scores.shape[1])
    if len(row) > _CROWDED * k * len(best):  # a gallery in ascending order: sort each row but once
        row = np.repeat(np.arange(len(best)), min(k, scores.shape[1]))
        column = top_k(scores, min(k, scores.shape[1])).reshape(-1)
    _enter(best, items, row, scores[row, column], start + column)


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
