"""From embeddings to official figures, bounded in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prunnet.data.official.task import RetrievalTask
from prunnet.data.official.truth import Truth
from prunnet.errors import DatasetError, EvaluationError
from prunnet.evaluate.protocol.figures import first_items, list_figures, score_figures
from prunnet.evaluate.protocol.index import EXACT, GalleryIndex, check_factory
from prunnet.evaluate.protocol.result import ProtocolResult
from runtime_py.arrays import Doubles, Floats, Labels, Mask

_CHUNK_SCORES = 4_000_000
"""Scores held at once (some 150 MB with masks and keys); a row of GLDv2 is 0.76 million."""
_MASKS_FOR_A_SCORE = 16
"""Where FAISS holds the scores, there are only two masks of a byte for each."""
_CHUNK_ROWS = 65_536
"""Rows made unit-length at once."""


def measure(
    task: RetrievalTask, queries: npt.ArrayLike, gallery: npt.ArrayLike, *, index: str | None = None
) -> ProtocolResult:
    """Measure a benchmark by its official protocol.

    Without `index` every figure is exact; where all have a cut-off (mAP@100) the gallery is searched through FAISS.

    Args:
        task: The benchmark.
        queries: float [Q, D], embeddings of `task.queries` in order; need not be of unit length.
        gallery: float [G, D], embeddings of `task.gallery` in order.
        index: FAISS index to search (`GalleryIndex`); it gives only the figures that have a cut-off.

    Raises:
        ValueError: The embeddings are not as many as the pictures, not as long as each other, or have no direction.
        DatasetError: A split has no query with a relevant item: there is no figure.
        EvaluationError: FAISS makes no such index, or the benchmark has no figure with a cut-off.
    """
    figures: dict[str, float] = {}
    counted: dict[str, int] = {}
    skipped: dict[str, int] = {}
    for split, values in per_query(task, queries, gallery, index=index).items():
        judged = ~np.isnan(next(iter(values.values())))
        if not judged.any():
            raise DatasetError(f"{task.name}: no query of {split!r} has a relevant item in the gallery")
        counted[split], skipped[split] = int(judged.sum()), int((~judged).sum())
        ending = f" {split}" if len(task.truths) > 1 else ""
        figures |= {f"{name}{ending}": float(found[judged].mean()) for name, found in values.items()}
    return ProtocolResult(task.name, figures, counted, skipped, _notes(task, index))


def check_index(task: RetrievalTask, dimension: int, index: str | None) -> None:
    """Refuse an index before there are embeddings to search.

    Args:
        task: The benchmark.
        dimension: Length of the embeddings, at least 1.
        index: As in `measure`.

    Raises:
        EvaluationError: FAISS makes no such index, or the benchmark has no figure with a cut-off. Whether the index can
            be trained on the gallery is known only when there is one.
        MissingExtraError: FAISS is needed and not installed.
    """
    factory = _factory(task, index)
    if factory is not None:
        check_factory(factory, len(task.gallery), dimension)


def per_query(
    task: RetrievalTask, queries: npt.ArrayLike, gallery: npt.ArrayLike, *, index: str | None = None
) -> dict[str, dict[str, Doubles]]:
    """Measure every query, for paired comparisons and intervals.

    Args:
        task: The benchmark.
        queries: As in `measure`.
        gallery: As in `measure`.
        index: As in `measure`.

    Returns:
        Split -> figure -> float64, one for each query of that split's `Truth.queries`; NaN for one that is skipped.

    Raises:
        ValueError: As `measure`.
        EvaluationError: As `measure`.
    """
    factory = _factory(task, index)
    asked, held = np.asarray(queries), np.asarray(gallery)
    for what, found, wanted in (("query", asked, task.queries), ("gallery", held, task.gallery)):
        if found.ndim != 2 or len(found) != len(wanted):
            raise ValueError(
                f"{what} embeddings of {task.name} are {list(found.shape)}; expected [{len(wanted)}, D]"
            )
    if asked.shape[1] != held.shape[1]:
        raise ValueError(f"queries have {asked.shape[1]} dimensions, the gallery {held.shape[1]}")
    unit_queries, unit_gallery = _unit(asked, "query"), _unit(held, "gallery")
    if factory is None:
        return {truth.name: _judge(truth, task, unit_queries, unit_gallery) for truth in task.truths}
    searched = GalleryIndex(unit_gallery, factory)
    return {
        truth.name: _search(truth, task, unit_queries, searched, len(unit_gallery)) for truth in task.truths
    }


def _judge(truth: Truth, task: RetrievalTask, queries: Floats, gallery: Floats) -> dict[str, Doubles]:
    numbers = truth.queries
    step = max(1, _CHUNK_SCORES // len(gallery))
    parts = []
    for start in range(0, len(numbers), step):
        rows = numbers[start : start + step]
        relevant, ignored = truth.masks(rows)
        parts.append(score_figures(queries[rows] @ gallery.T, relevant, ignored, task.rules))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _search(
    truth: Truth, task: RetrievalTask, queries: Floats, index: GalleryIndex, gallery: int
) -> dict[str, Doubles]:
    numbers, k = truth.queries, first_items(task.rules)
    step = max(1, _MASKS_FOR_A_SCORE * _CHUNK_SCORES // gallery)
    parts = []
    for start in range(0, len(numbers), step):
        rows = numbers[start : start + step]
        relevant, ignored = truth.masks(rows)
        if ignored is not None:
            relevant = relevant & ~ignored
        junk = 0 if ignored is None else int(ignored.sum(axis=1).max(initial=0))
        found = index.search(queries[rows], k + junk)
        parts.append(list_figures(_listed(found, relevant, ignored)[:, :k], relevant.sum(axis=1), task.rules))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _listed(found: Labels, relevant: Mask, ignored: Mask | None) -> Mask:
    """Return relevance in found order, bool [Q, K], without the items that do not count."""
    out = found < 0  # an approximate index may find fewer
    items = np.maximum(found, 0)
    if ignored is not None:
        out |= np.take_along_axis(ignored, items, axis=1)
    ranked = np.take_along_axis(relevant, items, axis=1) & ~out
    return np.take_along_axis(ranked, np.argsort(out, axis=1, kind="stable"), axis=1)


def _factory(task: RetrievalTask, index: str | None) -> str | None:
    """Return the index that is searched; None where every item is scored.

    Raises:
        EvaluationError: An index is asked for, and the benchmark has no figure with a cut-off.
    """
    first = first_items(task.rules) > 0 and not task.rules.precision_at
    if index is None:
        return EXACT if task.rules.cutoff and first else None
    if not first:
        raise EvaluationError(
            f"{task.name}: no index can be used, its figures need the whole ranking of the gallery; leave the index out"
        )
    return index or EXACT


def _notes(task: RetrievalTask, index: str | None) -> tuple[str, ...]:
    notes = []
    if index is not None and index != EXACT:
        notes.append(
            f"approximate: the gallery is searched through FAISS {index!r}, which does not look at every item"
        )
    if index is not None and task.rules.cutoff is None:
        notes.append("mAP is left out: it needs the whole ranking, an index gives the first items")
    return tuple(notes)


def _unit(vectors: npt.NDArray[np.generic], what: str) -> Floats:
    """Return float32 rows of unit length."""
    result = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        rows = vectors[start : start + _CHUNK_ROWS].astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        sound = np.isfinite(lengths) & (lengths > 0)
        if not sound.all():
            raise ValueError(
                f"{what} embedding {start + int(np.argmin(sound))} has no direction: it is zero or not finite"
            )
        result[start : start + len(rows)] = rows / lengths
    return result
