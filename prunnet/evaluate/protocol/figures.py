"""The figures of each query, from its scores. Ranks are those of `runtime_py.retrieval.ranks`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prunnet.data.official.task import Rules
from runtime_py.arrays import Doubles, Floats, Mask
from runtime_py.retrieval.ranks import ranks_of


def score_figures(scores: Floats, relevant: Mask, ignored: Mask | None, rules: Rules) -> dict[str, Doubles]:
    """Return the figures that `rules` ask for.

    Args:
        scores: float32 [Q, G], any sign, no NaN.
        relevant: bool [Q, G].
        ignored: bool [Q, G], items that are not part of a query's gallery; None ignores nothing.
        rules: Which figures.

    Returns:
        Name -> float64 [Q] in [0, 1]; NaN for a query without relevant items.

    >>> scores = np.array([[0.9, 0.8, -0.1, -0.5]], np.float32)
    >>> relevant = np.array([[True, False, True, False]])
    >>> {name: values.round(4).tolist() for name, values in
    ...  score_figures(scores, relevant, None, Rules("trapezoid", precision_at=(5,))).items()}
    {'mAP': [0.7917], 'mP@5': [0.6667]}
    """
    if ignored is not None:
        relevant = relevant & ~ignored
    total = relevant.sum(axis=1)
    ranked = _in_order(scores, relevant, ignored)
    figures = list_figures(ranked, total, rules)
    if rules.cutoff is None:
        figures = {"mAP": _average(ranked, total, rules), **figures}
    last = ranked.shape[1] - np.argmax(ranked[:, ::-1], axis=1)
    for k in rules.precision_at:
        figures[f"mP@{k}"] = _where(total, ranked[:, :k].sum(axis=1) / np.minimum(last, k))
    return figures


def first_items(rules: Rules) -> int:
    """Return how many of the first items decide the figures that have a cut-off; 0 if none has."""
    return max((rules.cutoff or 0, *rules.recall_at))


def list_figures(ranked: Mask, total: npt.NDArray[np.int64], rules: Rules) -> dict[str, Doubles]:
    """Return those figures that the first items decide: mAP@cutoff and Recall@k.

    Args:
        ranked: bool [Q, K], whether each item of a query's list is relevant, best first; K is `first_items`, or less
            where the list ends.
        total: int64 [Q], relevant items in the whole gallery.
        rules: Which figures.

    Returns:
        As `score_figures`.
    """
    figures = {}
    if rules.cutoff is not None:
        figures[f"mAP@{rules.cutoff}"] = _average(ranked[:, : rules.cutoff], total, rules)
    for k in rules.recall_at:
        figures[f"Recall@{k}"] = _where(total, ranked[:, :k].any(axis=1))
    return figures


def _in_order(scores: Floats, relevant: Mask, ignored: Mask | None) -> Mask:
    """Return relevance in ranked order, bool [Q, G]."""
    if ignored is not None:
        scores = np.where(ignored, np.float32(-np.inf), scores)
    query, item = np.nonzero(relevant)
    ranked = np.zeros_like(relevant)
    ranked[query, ranks_of(scores, query, item)] = True
    return ranked


def _average(ranked: Mask, total: npt.NDArray[np.int64], rules: Rules) -> Doubles:
    """Average precision from relevance in ranked order, bool [Q, K]."""
    query, rank = np.nonzero(ranked)
    found = np.bincount(query, minlength=len(ranked))
    before = np.arange(len(query)) - (np.cumsum(found) - found)[query]
    precision = (before + 1) / (rank + 1)
    if rules.average == "trapezoid":
        # The curve rises at a relevant item, from the precision just before it; before the first item it is 1.
        earlier = np.divide(before, rank, out=np.ones(len(rank)), where=rank > 0)
        precision = (earlier + precision) / 2
    whole = total if rules.cutoff is None else np.minimum(total, rules.cutoff)
    sums = np.bincount(query, weights=precision, minlength=len(ranked))
    return _where(total, sums / np.maximum(whole, 1))


def _where(total: npt.NDArray[np.int64], values: npt.ArrayLike) -> Doubles:
    return np.where(total > 0, np.asarray(values, np.float64), np.nan)
