"""Measuring every pair of encoders of a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from prunnet.data.source import Benchmark
from prunnet.errors import EvaluationError
from prunnet.evaluation import flops, interval
from prunnet.family import Family
from prunnet.matrix.result import Flips, Matrix, MixedGallery, Row
from prunnet.retrieval import LeaveOneOut, PerQuery, points
from prunnet.server import embed
from runtime_py.ranks import Doubles, Floats

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
    benchmark: Benchmark,
    *,
    mixed_share: float = 0.5,
    say: Callable[[str], None] = lambda text: None,
) -> Matrix:
    """Measure every pair (query encoder, gallery encoder) of a family.

    Args:
        family: The encoders.
        benchmark: Images to retrieve, every one against all the others.
        mixed_share: Share of the mixed gallery that the subnetwork embeds, in [0, 1].
        say: Told after each capacity, once when it is embedded and once when its queries are measured.

    Raises:
        EvaluationError: The share is not in [0, 1], or the family does not end in its dense encoder.
    """
    if not 0 <= mixed_share <= 1:
        raise EvaluationError(f"the mixed gallery's share is {mixed_share!r}; give a fraction in [0, 1]")
    capacities = family.capacities
    if not capacities or capacities[-1] != 1 or list(capacities) != sorted(set(capacities)):
        raise EvaluationError(f"a family's capacities ascend to 1.0, the dense encoder; given {capacities}")
    embedded = []
    for capacity in capacities:
        embedded.append(_embed(family.encoder(capacity), benchmark))
        say(f"capacity {capacity:g}: embedded")
    retrieval = LeaveOneOut(benchmark.labels)
    pairs: list[list[PerQuery]] = []
    for capacity, queries in zip(capacities, embedded, strict=True):
        pairs.append([retrieval.measure(queries.vectors, gallery.vectors) for gallery in embedded])
        say(f"capacity {capacity:g}: cross-test mAP {pairs[-1][-1].map}, {len(pairs[-1])} galleries measured")
    drawn = _draw(len(benchmark.labels), mixed_share)
    rows = []
    for number, capacity in enumerate(capacities):
        cross, alone, dense = pairs[number][-1], pairs[number][number], pairs[-1][-1]
        rows.append(
            Row(
                capacity=capacity,
                achieved=round(family.achieved(capacity), 4),
                parameters=embedded[number].parameters,
                nonzero_parameters=embedded[number].nonzero,
                macs=embedded[number].macs,
                cross_map=cross.map,
                self_map=alone.map,
                cross_recall_at_1=cross.recall_at_1,
                self_recall_at_1=alone.recall_at_1,
                below_dense=interval(dense.precision - cross.precision, benchmark.labels),
                cross_minus_self=interval(cross.precision - alone.precision, benchmark.labels),
                flips=_flips(dense.hit, cross.hit),
                mixed=_mixed(retrieval, embedded[number].vectors, embedded[-1].vectors, drawn),
            )
        )
    return Matrix(
        capacities=capacities,
        map=tuple(tuple(pair.map for pair in row) for row in pairs),
        recall_at_1=tuple(tuple(pair.recall_at_1 for pair in row) for row in pairs),
        compatible=_compatible(pairs),
        rows=tuple(rows),
        queries=int(np.isfinite(pairs[-1][-1].precision).sum()),
        mixed_share=mixed_share,
    )


def _embed(encoder: nn.Module, benchmark: Benchmark) -> _Embedded:
    parameters = list(encoder.parameters())
    return _Embedded(
        vectors=embed(encoder, benchmark.images),
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        macs=flops(encoder, benchmark.images.shape[1:3]) // 2,
    )


def _compatible(pairs: list[list[PerQuery]]) -> tuple[tuple[bool, ...], ...]:
    """Hold each pair against the self-test of its smaller encoder (METHOD.md section 1; BCT's criterion)."""
    means = [[float(np.nanmean(pair.precision)) for pair in row] for row in pairs]
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
