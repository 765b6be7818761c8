"""Where items rank: the one rule of ranking, whole, at the top, or only for the items that matter.

By score, highest first; among equal scores the smaller gallery index first. An item whose score is minus
infinity is not part of a query's gallery and comes last.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Doubles, Floats, Labels, Mask


def ranking(scores: Floats, ignored: Mask | None = None) -> Labels:
    """Order the gallery for each query by the module's rule.

    Args:
        scores: float32 [Q, G], no NaN.
        ignored: bool [Q, G]; items that are not part of a query's gallery. They come last.

    Returns:
        int64 [Q, G], gallery indices, best first.

    >>> ranking(np.array([[0.5, -0.2, 0.5]], np.float32)).tolist()
    [[0, 2, 1]]
    """
    return _indices(np.sort(_keys(scores, ignored), axis=1))


def top_k(scores: Floats, k: int, ignored: Mask | None = None) -> Labels:
    """Return the first `k` columns of `ranking`, int64 [Q, k], without sorting the rest; 1 <= k <= G."""
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k is {k}; a gallery of {scores.shape[1]} items allows 1..{scores.shape[1]}")
    best = np.partition(_keys(scores, ignored), k - 1, axis=1)[:, :k]
    return _indices(np.sort(best, axis=1))


def ranks_of(scores: Floats, query: Labels, item: Labels) -> Labels:
    """Rank some items of each query, without ranking the others.

    The values of a row are sorted, not its items, and each wanted item looks its own value up. Only rows in
    which a wanted item shares its score with another one are ranked whole.

    Args:
        scores: float32 [Q, G], no NaN; minus infinity for items that are not part of a query's gallery.
        query: int64 [n], rows.
        item: int64 [n], columns.

    Returns:
        int64 [n], positions in `ranking` of those rows, from 0.

    Raises:
        ValueError: A score is NaN.

    >>> scores = np.array([[0.5, -0.2, 0.5]], np.float32)
    >>> ranks_of(scores, np.array([0, 0]), np.array([1, 2])).tolist()
    [2, 1]
    """
    ascending = np.sort(scores, axis=1)
    width = scores.shape[1]
    if width and np.isnan(ascending[:, -1]).any():
        raise ValueError("a score is NaN")
    wanted = scores[query, item]
    not_above = _count_not_above(ascending, query, wanted)
    ranks: Labels = width - not_above
    tied = (not_above >= 2) & (ascending[query, not_above - 2] == wanted)
    if tied.any():
        rows, within = np.unique(query[tied], return_inverse=True)
        order = ranking(scores[rows])
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(width)[None], axis=1)
        ranks[tied] = place[within, item[tied]]
    return ranks


def precisions_at(query: Labels, rank: Labels, queries: int) -> Doubles:
    """Average precision of each query from the ranks of its relevant items.

    Args:
        query: int64 [n], the query of each relevant item, ascending.
        rank: int64 [n], their ranks from 0, in any order within a query.
        queries: Number of queries.

    Returns:
        float64 [queries] in [0, 1]; NaN for a query without relevant items.
    """
    span = int(rank.max(initial=0)) + 1
    rank = np.sort(query * span + rank) - query * span
    counts = np.bincount(query, minlength=queries)
    first = np.cumsum(counts) - counts
    nth = np.arange(len(query)) - first[query] + 1
    sums = np.bincount(query, weights=nth / (rank + 1), minlength=queries)
    result = np.full(queries, np.nan)
    np.divide(sums, counts, out=result, where=counts > 0)
    return result


def _count_not_above(ascending: Floats, row: Labels, values: Floats) -> Labels:
    """Count, by bisection in all rows at once, the entries of each value's row that do not exceed it."""
    width = ascending.shape[1]
    flat, start = ascending.reshape(-1), row * width
    found = np.zeros(len(row), np.int64)
    step = 1 << max(0, width.bit_length() - 1)
    while step:
        probe = found + step
        fits = flat[start + np.minimum(probe, width) - 1] <= values
        found = np.where(fits & (probe <= width), probe, found)
        step >>= 1
    return found


def _keys(scores: Floats, ignored: Mask | None) -> npt.NDArray[np.uint64]:
    """Integers that sort as the module's rule ranks: high bits the score, descending; low bits the index.

    The bits of a non-negative float32 sort like an integer, those of a negative one in reverse.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    values = np.asarray(scores, np.float32) + np.float32(0)  # -0.0 becomes 0.0: they are equal
    if ignored is not None:
        values[ignored] = -np.inf
    bits = values.view(np.uint32)
    descending = np.where(bits >> 31 == 1, bits, ~bits & 0x7FFFFFFF).astype(np.uint64)
    return (descending << np.uint64(32)) | np.arange(scores.shape[1], dtype=np.uint64)


def _indices(keys: npt.NDArray[np.uint64]) -> Labels:
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
