"""Retrieval figures on cosine scores: pure numpy, vectorised, bounded in memory.

One rule of ranking holds everywhere: by score, highest first; among equal scores the smaller gallery index
first. It does not depend on labels and is the same on every machine. Scores may be negative: relevance is
never read off their sign. A query without a relevant item has no recall and no average precision: it is
skipped, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Doubles, Floats, Labels, Mask
from runtime_py.retrieval.ranks import precisions_at, ranking, ranks_of, top_k
from runtime_py.retrieval.search import search_rows

__all__ = [
    "Doubles",
    "Floats",
    "Labels",
    "Mask",
    "Retrieval",
    "average_precisions",
    "cosine_matrix",
    "evaluate",
    "nearest",
    "ranking",
    "recalls_at_k",
    "row_cosines",
    "shared",
    "top_k",
]

_CHUNK_SCORES = 4_000_000
"""Scores held at once (some 100 MB with the sort's keys), so that a large gallery fits a small machine."""
_ROWS = 2048
"""Rows that are normalised at once."""


@dataclass(frozen=True)
class Retrieval:
    """Quality of one set of queries on one gallery, as means over the counted queries in [0, 1]."""

    recall: dict[int, float]
    """k -> fraction of queries with a relevant item among the first k."""
    mean_average_precision: float
    queries: int
    """Queries that have a relevant item, and so count."""
    skipped: int
    """Queries that have none."""


def row_cosines(left: npt.ArrayLike, right: npt.ArrayLike) -> Doubles:
    """Cosine of each row of `left` with the same row of `right`.

    Args:
        left: float [N, D], finite, no row of length zero.
        right: float [N, D], the same.

    Returns:
        float64 [N] in [-1, 1].
    """
    a, b = _directions(left, np.float64), _directions(right, np.float64)
    return np.asarray(np.clip(np.einsum("nd,nd->n", a, b), -1.0, 1.0), np.float64)


def cosine_matrix(queries: npt.ArrayLike, gallery: npt.ArrayLike) -> Floats:
    """Cosine of every query with every gallery item.

    Args:
        queries: float [Q, D], finite, no row of length zero; need not be of unit length.
        gallery: float [G, D], the same.

    Returns:
        float32 [Q, G] in [-1, 1].

    Raises:
        ValueError: A row has no direction (not finite, or zero).
    """
    return np.clip(_directions(queries, np.float32) @ _directions(gallery, np.float32).T, -1.0, 1.0)


def average_precisions(scores: Floats, relevant: Mask, ignored: Mask | None = None) -> Doubles:
    """Average precision of each query: the mean, over its relevant items, of the precision at their rank.

    Args:
        scores: float32 [Q, G], any sign.
        relevant: bool [Q, G].
        ignored: bool [Q, G]; items that are not part of a query's gallery, e.g. the query itself or junk.

    Returns:
        float64 [Q] in [0, 1]; NaN for a query without relevant items.

    >>> scores = np.array([[0.9, 0.8, -0.1, -0.5]], np.float32)
    >>> relevant = np.array([[True, False, True, False]])
    >>> average_precisions(scores, relevant).round(4).tolist()     # (1/1 + 2/3) / 2
    [0.8333]
    """
    if ignored is not None:
        relevant = relevant & ~ignored
        scores = np.where(ignored, np.float32(-np.inf), scores)
    query, item = np.nonzero(relevant)
    return precisions_at(query, ranks_of(scores, query, item), len(scores))


def recalls_at_k(scores: Floats, relevant: Mask, k: int, ignored: Mask | None = None) -> Doubles:
    """Tell for each query whether a relevant item is among its first `k` (Recall@k of metric learning).

    Args:
        scores: float32 [Q, G].
        relevant: bool [Q, G].
        k: How many items count; more than the gallery holds means all of it.
        ignored: bool [Q, G]; items that are not part of a query's gallery.

    Returns:
        float64 [Q]: 1 or 0; NaN for a query without relevant items.
    """
    if ignored is not None:
        relevant = relevant & ~ignored
    best = top_k(scores, min(k, scores.shape[1]), ignored)
    return _hits(np.take_along_axis(relevant, best, axis=1), np.any(relevant, axis=1))


def nearest(queries: Floats, gallery: Floats, k: int) -> Labels:
    """Return the `k` gallery items of largest cosine for each query, best first: int64 [Q, k]."""
    items = np.asarray(gallery)
    return search_rows(
        _directions(queries, np.float32),
        lambda start, stop: _directions(items[start:stop], np.float32, start),
        len(items),
        k,
    )


def shared(left: Labels, right: Labels) -> Doubles:
    """Tell for each row which fraction of its items, in any order, two top-k tables [Q, k] share.

    Returns:
        float64 [Q] in [0, 1].
    """
    both = np.sort(np.concatenate([left, right], axis=1), axis=1)
    return np.asarray((both[:, 1:] == both[:, :-1]).sum(axis=1) / left.shape[1], np.float64)


def evaluate(
    queries: Floats,
    query_labels: Labels,
    gallery: Floats,
    gallery_labels: Labels,
    *,
    ks: Sequence[int] = (1,),
    exclude_self: bool = False,
) -> Retrieval:
    """Retrieve every query from the gallery; items with the query's label are relevant.

    Args:
        queries: float32 [Q, D].
        query_labels: int64 [Q].
        gallery: float32 [G, D].
        gallery_labels: int64 [G].
        ks: Cut-offs of Recall@k.
        exclude_self: The gallery is the same set in the same order; query i never retrieves item i.

    Returns:
        Means over the queries that have a relevant item.

    Raises:
        ValueError: No query has a relevant item, or a row has no direction.
    """
    if exclude_self and len(queries) != len(gallery):
        raise ValueError(f"{len(queries)} queries are not the gallery of {len(gallery)} items themselves")
    unit_gallery = _directions(gallery, np.float32).T
    precisions: list[Doubles] = []
    hits: dict[int, list[Doubles]] = {k: [] for k in ks}
    for rows in _chunks(len(queries), len(gallery)):
        scores = _directions(queries[rows], np.float32) @ unit_gallery
        relevant = query_labels[rows, None] == gallery_labels
        ignored = (
            np.arange(rows.start, rows.stop)[:, None] == np.arange(len(gallery)) if exclude_self else None
        )
        if ignored is not None:
            relevant &= ~ignored
            scores[ignored] = -np.inf
        query, item = np.nonzero(relevant)
        rank = ranks_of(scores, query, item)
        best = np.full(len(scores), len(gallery))
        np.minimum.at(best, query, rank)
        precisions.append(precisions_at(query, rank, len(scores)))
        for k in ks:
            hits[k].append(np.where(np.isnan(precisions[-1]), np.nan, best < k))
    average = np.concatenate(precisions) if precisions else np.zeros(0)
    counted = ~np.isnan(average)
    if not counted.any():
        raise ValueError("no query has an item of its own label in the gallery")
    return Retrieval(
        recall={k: float(np.concatenate(rows)[counted].mean()) for k, rows in hits.items()},
        mean_average_precision=float(average[counted].mean()),
        queries=int(counted.sum()),
        skipped=int((~counted).sum()),
    )


def _chunks(queries: int, gallery: int) -> Iterator[slice]:
    step = max(1, _CHUNK_SCORES // max(1, gallery))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def _directions(
    vectors: npt.ArrayLike, dtype: type[np.floating], number: int = 0
) -> npt.NDArray[np.floating]:
    """Divide each row by its length, some rows at a time: in float64, whatever comes in and goes out.

    Errors count rows from `number` on.
    """
    given = np.asarray(vectors)
    result = np.empty(given.shape, dtype)
    for start in range(0, len(given), _ROWS):
        values = given[start : start + _ROWS].astype(np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values))[:, None]
        sound = np.isfinite(lengths) & (lengths > 0)
        if not sound.all():
            raise ValueError(
                f"row {number + start + int(np.argmin(sound))} has no direction: it is zero or not finite"
            )
        np.divide(values, lengths, out=result[start : start + _ROWS], casting="same_kind")
    return result


def _hits(ranked: Mask, counted: Mask) -> Doubles:
    return np.where(counted, ranked.any(axis=1).astype(np.float64), np.nan)
