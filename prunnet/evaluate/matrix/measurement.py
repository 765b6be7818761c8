"""Measuring every pair of encoders of a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from prunnet.data.source import RetrievalSet
from prunnet.encoder.embedding import embed
from prunnet.errors import EvaluationError
from prunnet.evaluate.curve import flops, interval
from prunnet.evaluate.family import Family
from prunnet.evaluate.leave_one_out import LeaveOneOut, PerQuery, points
from prunnet.evaluate.matrix.result import Flips, Matrix, MixedGallery, Row
from runtime_py.arrays import Doubles, Floats

_MIXED_SEED = 2026
"""Draws which gallery items the subnetwork embeds; the same items for every capacity and every family."""


@dataclass(frozen=True, eq=False)
class _Embedded:
    """One encoder's embeddings and size; the encoder itself is gone."""

    vectors: Floats
    parameters: int
    nonzero: int
    macs: int


def measure_matrix(
    family: Family,
    pictures: RetrievalSet,
    *,
    mixed_share: float = 0.5,
    say: Callable[[str], None] = lambda text: None,
) -> Matrix:
    """Measure every pair (query encoder, gallery encoder) of a family.

    Args:
        family: The encoders.
        pictures: Images to retrieve, every one against all the others.
        mixed_share: Share of the mixed gallery that the subnetwork embeds, in [0, 1].
        say: Told after each capacity, once when it is embedded and once when its queries are measured.

    Raises:
        EvaluationError: The share is not in [0, 1], or the family does not end in its dense encoder.
    """
    embedded = _embedded(family, pictures, mixed_share, say)
    pairs = _Pairs(pictures, embedded)
    rows = _rows(family, pairs, mixed_share, say)
    count = range(len(embedded))
    grid = [[pairs(query, gallery) for gallery in count] for query in count]
    return Matrix(
        capacities=family.capacities,
        map=tuple(tuple(pair.map for pair in row) for row in grid),
        recall_at_1=tuple(tuple(pair.recall_at_1 for pair in row) for row in grid),
        compatible=_compatible(grid),
        rows=rows,
        queries=pairs.counted,
        mixed_share=mixed_share,
    )


def measure_rows(
    family: Family,
    pictures: RetrievalSet,
    *,
    mixed_share: float = 0.5,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Row, ...]:
    """Measure each encoder of a family against dense, as `measure_matrix` does, without the other pairs."""
    return _rows(family, _Pairs(pictures, _embedded(family, pictures, mixed_share, say)), mixed_share, say)


class _Pairs:
    """Retrieval between any two of the embedded encoders, each measured once, when it is asked for.

    Args:
        pictures: What was embedded.
        embedded: The encoders, ascending to the dense one.
    """

    def __init__(self, pictures: RetrievalSet, embedded: list[_Embedded]) -> None:
        self.labels, self.embedded = pictures.labels, embedded
        self.retrieval = LeaveOneOut(pictures.labels)
        self._found: dict[tuple[int, int], PerQuery] = {}

    def __call__(self, query: int, gallery: int) -> PerQuery:
        """Return the figures of the encoders with these numbers."""
        if (query, gallery) not in self._found:
            vectors = self.embedded[query].vectors, self.embedded[gallery].vectors
            self._found[query, gallery] = self.retrieval.measure(*vectors)
        return self._found[query, gallery]

    @property
    def counted(self) -> int:
        """Return how many queries have something to find."""
        return int(np.isfinite(self(len(self.embedded) - 1, len(self.embedded) - 1).precision).sum())


def _embedded(
    family: Family, pictures: RetrievalSet, mixed_share: float, say: Callable[[str], None]
) -> list[_Embedded]:
    if not 0 <= mixed_share <= 1:
        raise EvaluationError(f"the mixed gallery's share is {mixed_share!r}; give a fraction in [0, 1]")
    capacities = family.capacities
    if not capacities or capacities[-1] != 1 or list(capacities) != sorted(set(capacities)):
        raise EvaluationError(f"a family's capacities ascend to 1.0, the dense encoder; given {capacities}")
    embedded = []
    for capacity in capacities:
        embedded.append(_embed(family.subnetwork(capacity), pictures))
        say(f"capacity {capacity:g}: embedded")
    return embedded


def _rows(family: Family, pairs: _Pairs, mixed_share: float, say: Callable[[str], None]) -> tuple[Row, ...]:
    last, labels, drawn = len(pairs.embedded) - 1, pairs.labels, _draw(len(pairs.labels), mixed_share)
    dense = pairs(last, last)
    rows = []
    for number, (capacity, encoder) in enumerate(zip(family.capacities, pairs.embedded, strict=True)):
        cross, alone = pairs(number, last), pairs(number, number)
        rows.append(
            Row(
                capacity=capacity,
                achieved=round(family.achieved(capacity), 4),
                parameters=encoder.parameters,
                nonzero_parameters=encoder.nonzero,
                macs=encoder.macs,
                cross_map=cross.map,
                self_map=alone.map,
                cross_recall_at_1=cross.recall_at_1,
                self_recall_at_1=alone.recall_at_1,
                below_dense=interval(dense.precision - cross.precision, labels),
                cross_minus_self=interval(cross.precision - alone.precision, labels),
                flips=_flips(dense.hit, cross.hit),
                mixed=_mixed(pairs.retrieval, encoder.vectors, pairs.embedded[last].vectors, drawn),
            )
        )
        say(f"capacity {capacity:g}: cross-test mAP {cross.map}")
    return tuple(rows)


def _embed(encoder: nn.Module, pictures: RetrievalSet) -> _Embedded:
    parameters = list(encoder.parameters())
    return _Embedded(
        vectors=embed(encoder, pictures.images),
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        macs=flops(encoder, pictures.images.shape[1:3]) // 2,
    )


def _compatible(grid: list[list[PerQuery]]) -> tuple[tuple[bool, ...], ...]:
    """Hold each pair against the self-test of its smaller encoder (BCT's criterion)."""
    means = [[float(np.nanmean(pair.precision)) for pair in row] for row in grid]
    count = range(len(means))
    return tuple(tuple(means[q][g] >= means[min(q, g)][min(q, g)] for g in count) for q in count)


def _flips(before: Doubles, after: Doubles) -> Flips:
    """Count verdicts that change; float64 [Q] of 0, 1 or NaN."""
    missing = np.isnan(before)  # the same queries in both: what is relevant depends on labels alone
    lost = np.where(missing, np.nan, (before == 1) & (after == 0))
    won = np.where(missing, np.nan, (before == 0) & (after == 1))
    return Flips(negative=points(lost), positive=points(won))


def _draw(count: int, share: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Choose the gallery items that the subnetwork embeds: bool [count], exactly round(share * count) of them."""
    drawn = np.zeros(count, dtype=bool)
    drawn[np.random.default_rng(_MIXED_SEED).permutation(count)[: round(share * count)]] = True
    return drawn


def _mixed(
    retrieval: LeaveOneOut, own: Floats, dense: Floats, drawn: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> MixedGallery:
    gallery = np.where(drawn[:, None], own, dense)
    return MixedGallery(
        own_queries=retrieval.measure(own, gallery).map, dense_queries=retrieval.measure(dense, gallery).map
    )
