"""The figures of each query, from its scores. Ranks are those of `runtime_py.metrics.ranking`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prunnet.data.benchmarks.task import Rules
from runtime_py.metrics import Doubles, Floats, Mask, ranking, top_k


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
    order = _best(scores, ignored, rules)
    ranked = np.take_along_axis(relevant, order, axis=1)
    name = f"mAP@{rules.cutoff}" if rules.cutoff else "mAP"
    figures = {name: _average(ranked[:, : rules.cutoff], total, rules)}
    for k in rules.recall_at:
        figures[f"Recall@{k}"] = _where(total, ranked[:, :k].any(axis=1))
    last = ranked.shape[1] - np.argmax(ranked[:, ::-1], axis=1)
    for k in rules.precision_at:
        figures[f"mP@{k}"] = _where(total, ranked[:, :k].sum(axis=1) / np.minimum(last, k))
    return figures


def _best(scores: Floats, ignored: Mask | None, rules: Rules) -> npt.NDArray[np.int64]:
    """Rank as many items as the rules look at: of a million, the first hundred need no sort of all."""
    if rules.cutoff is None or rules.precision_at:  # both need the ranks of all relevant items
        return ranking(scores, ignored)
    return top_k(scores, min(scores.shape[1], max(rules.cutoff, *rules.recall_at, 1)), ignored)


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
