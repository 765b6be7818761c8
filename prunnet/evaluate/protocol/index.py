"""Searching a large gallery for the first items of each query, through FAISS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from prunnet.errors import EvaluationError, MissingExtraError
from runtime_py.arrays import Doubles, Floats, Labels
from runtime_py.retrieval.ranks import ranking

EXACT = "Flat"
"""The index that looks at every item."""
_SPARE = 32
"""Items fetched beyond those asked for, so that a tie at the border seldom needs a second search."""
_CHUNK_PRODUCTS = 4_000_000
"""Products held at once when candidates are scored again (some 50 MB with the candidates)."""
_SIGNATURE = re.compile(r"^Error in .*?\.(?:cpp|h):\d+: (?:Error: )?", re.S)
"""What FAISS puts before its errors."""


class GalleryIndex:
    """A gallery that is searched by inner product.

    The exact index keeps the rule of `runtime_py.retrieval.ranks`, which FAISS does not promise: its candidates are
    scored again, the same way whatever their position, and ranked by score and number. Where an item that was not
    fetched could still belong among the first (it may score as much as the last of them, within rounding), more are
    fetched, up to all.

    Args:
        gallery: float32 [G, D], unit length.
        factory: FAISS factory string; "Flat" is exact, anything else approximate. Search parameters may follow a
            colon: "IVF1024,Flat:nprobe=16".

    Raises:
        EvaluationError: FAISS does not know the string, or cannot train it on this gallery.
        MissingExtraError: FAISS is not installed.
    """

    def __init__(self, gallery: Floats, factory: str = EXACT) -> None:
        self._gallery, self.factory = gallery, factory
        self._index = _build(gallery, factory)

    @property
    def exact(self) -> bool:
        """Whether what is found is what a look at every item finds."""
        return self.factory == EXACT

    def search(self, queries: Floats, k: int) -> Labels:
        """Return the first `k` items of each query, best first.

        Args:
            queries: float32 [Q, D], unit length.
            k: At least 1; more than the gallery holds means all of it.

        Returns:
            int64 [Q, min(k, G)]; -1 where an approximate index found no more.
        """
        k = min(k, len(self._gallery))
        if not self.exact:
            return np.asarray(self._index.search(queries, k)[1], np.int64)
        found = np.empty((len(queries), k), np.int64)
        left, fetched = np.arange(len(queries)), min(k + _SPARE, len(self._gallery))
        while len(left):
            scores, items = self._index.search(queries[left], fetched)
            sure = self._first(queries[left], scores, items, found, left)
            left, fetched = left[~sure], min(4 * fetched, len(self._gallery))
        return found

    def _first(
        self, queries: Floats, scores: Floats, items: Labels, found: Labels, rows: Labels
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Rank candidates into `found[rows]`; tell for which rows nothing that was not fetched can belong there."""
        k, fetched, dimension = found.shape[1], items.shape[1], queries.shape[1]
        items = np.sort(items, axis=1)  # then the rule's "smaller number first" is "smaller column first"
        last = np.empty(len(queries))
        step = max(1, _CHUNK_PRODUCTS // (fetched * dimension))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            again = _scores(queries[part], self._gallery, items[part])
            order = ranking(again)[:, :k]
            found[rows[part]] = np.take_along_axis(items[part], order, axis=1)
            last[part] = np.take_along_axis(again, order[:, -1:], axis=1)[:, 0]
        if fetched == len(self._gallery):
            return np.ones(len(queries), dtype=bool)
        # A float32 inner product of unit vectors is off by at most D rounding steps, in whatever order it is added up.
        slack = (dimension + 2) * float(np.finfo(np.float32).eps)
        return np.asarray(last > scores.min(axis=1).astype(np.float64) + slack)


def _scores(queries: Floats, gallery: Floats, items: Labels) -> Floats:
    """Score candidates one by one: equal vectors score equal, which a matrix product may break.

    Args:
        queries: float32 [n, D].
        gallery: float32 [G, D].
        items: int64 [n, k], gallery numbers.

    Returns:
        float32 [n, k], summed in float64.
    """
    result = np.empty(items.shape, np.float32)
    step = max(1, _CHUNK_PRODUCTS // queries.size)
    for start in range(0, items.shape[1], step):
        part = slice(start, start + step)
        products: Doubles = np.multiply(queries[:, None], gallery[items[:, part]], dtype=np.float64)
        result[:, part] = products.sum(axis=2)
    return result


def check_factory(factory: str, items: int, dimension: int) -> None:
    """Refuse a factory string that no gallery makes an index.

    Args:
        factory: As `GalleryIndex` takes it.
        items: Size of the gallery, for the error.
        dimension: Length of its vectors, at least 1.

    Raises:
        EvaluationError: FAISS does not know the string.
        MissingExtraError: FAISS is not installed.
    """
    with _refused(factory, items, dimension):
        _set(_empty(factory, dimension), factory)


def _build(gallery: Floats, factory: str) -> Any:
    vectors = np.ascontiguousarray(gallery, np.float32)
    with _refused(factory, *vectors.shape):
        index = _empty(factory, vectors.shape[1])
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        _set(index, factory)
    return index


def _empty(factory: str, dimension: int) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss-cpu", "train", "searching a gallery") from error
    return faiss.index_factory(dimension, factory.partition(":")[0], faiss.METRIC_INNER_PRODUCT)


def _set(index: Any, factory: str) -> None:
    """Set the search parameters that follow the colon."""
    import faiss

    if settings := factory.partition(":")[2]:
        faiss.ParameterSpace().set_index_parameters(index, settings)  # type: ignore[arg-type] # typed as if only numbers were taken


@contextmanager
def _refused(factory: str, items: int, dimension: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EvaluationError(
            f"FAISS makes no index {factory!r} of {items:,} items of {dimension} dimensions: "
            f"{_SIGNATURE.sub('', str(error))}; give a factory string, e.g. Flat, HNSW32, IVF1024,Flat:nprobe=16"
        ) from error
