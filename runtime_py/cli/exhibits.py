"""What a page shows of a check beside its figures: the worst probes, what they find, how the cosines are spread.

Made by the process that checks, for only it has the embeddings; plain JSON types, so that they travel.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from runtime_py.arrays import Doubles, Floats
from runtime_py.bundle.probes import Probes
from runtime_py.check.duplicates import gallery_scores, representatives
from runtime_py.cli.html.pictures import png, thumbnail
from runtime_py.retrieval import metrics

WORST = 8
"""Probes that are shown."""
QUERIES = 5
"""Probes whose neighbours are shown."""
NEIGHBOURS = 5
BINS = 24
_SPREAD = 1e-12
"""Width of a histogram of equal values."""


@dataclass(frozen=True)
class Histogram:
    """How many probes have a cosine in each of `BINS` equal parts of [low, high]."""

    title: str
    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """One probe: its index, its label and its cosine with the torch subnetwork's embedding (-1: no direction)."""

    index: int
    label: int
    cosine: float


@dataclass(frozen=True)
class Found:
    """One neighbour: its index, its label and the cosine of the query with its dense embedding."""

    index: int
    label: int
    cosine: float


@dataclass(frozen=True)
class Search:
    """What one probe finds in the dense gallery, best first: by its dense embedding, and by the device's."""

    query: Probe
    dense: tuple[Found, ...]
    device: tuple[Found, ...]


@dataclass(frozen=True)
class Exhibits:
    """Everything that is shown of one bundle.

    Attributes:
        worst: Probes with the smallest cosines, the smallest first.
        searches: First the probes that the dense embedding finds and the device's does not, then those whose
            neighbours differ most.
        histograms: Of the cosines with the torch subnetwork's and with the dense embeddings.
        pictures: Index of a probe -> PNG, base64.
    """

    worst: tuple[Probe, ...]
    searches: tuple[Search, ...]
    histograms: tuple[Histogram, ...]
    pictures: dict[int, str]


def exhibits_of(embeddings: Floats, probes: Probes) -> Exhibits:
    """Choose and compute what is shown.

    Args:
        embeddings: float32 [P, D], the artifact's embeddings of `probes.images`; a row may have no direction.
        probes: The bundle's probes.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    stand_in = np.eye(1, embeddings.shape[1], dtype=np.float32)[0]
    queries = np.where(usable[:, None], embeddings, stand_in)
    cosines, to_dense = (
        np.where(usable, metrics.row_cosines(queries, vectors), -1.0)
        for vectors in (probes.subnetwork, probes.dense)
    )

    def probe(index: int) -> Probe:
        return Probe(index, int(probes.labels[index]), float(cosines[index]))

    worst = tuple(probe(int(index)) for index in np.argsort(cosines, kind="stable")[:WORST])
    searches = tuple(
        Search(probe(index), dense, device) for index, dense, device in _searches(queries, probes, usable)
    )
    shown = {one.index for one in worst}
    for search in searches:
        shown |= {search.query.index, *(found.index for found in (*search.dense, *search.device))}
    return Exhibits(
        worst,
        searches,
        (
            _histogram("Cosine with the torch subnetwork", cosines),
            _histogram("Cosine with the dense encoder", to_dense),
        ),
        {
            index: base64.b64encode(png(thumbnail(probes.images[index]))).decode("ascii")
            for index in sorted(shown)
        },
    )


def _searches(
    queries: Floats, probes: Probes, usable: metrics.Mask
) -> list[tuple[int, tuple[Found, ...], tuple[Found, ...]]]:
    """Return the chosen queries with what each finds; nothing where a probe has no gallery but itself."""
    first = representatives(probes.dense)
    itself = first[:, None] == first
    k = min(NEIGHBOURS, int((~itself).sum(axis=1).min()))
    if k == 0:
        return []
    scores = [gallery_scores(vectors, probes.dense, first) for vectors in (probes.dense, queries)]
    dense, device = (metrics.top_k(each, k, itself) for each in scores)
    hits = [probes.labels[items[:, 0]] == probes.labels for items in (dense, device)]
    lost = hits[0] & ~(hits[1] & usable)
    overlap = metrics.shared(dense, device) * usable
    chosen = np.lexsort((overlap, ~lost))[:QUERIES]

    def found(items: metrics.Labels, score: Floats, query: int) -> tuple[Found, ...]:
        return tuple(
            Found(int(item), int(probes.labels[item]), float(score[query, item])) for item in items[query]
        )

    return [
        (
            int(query),
            found(dense, scores[0], query),
            found(device, scores[1], query) if usable[query] else (),
        )
        for query in chosen
    ]


def _histogram(title: str, cosines: Doubles) -> Histogram:
    low, high = float(cosines.min()), float(cosines.max())
    low = min(low, high - _SPREAD)
    counts, _ = np.histogram(cosines, BINS, (low, high))
    return Histogram(title, low, high, tuple(int(count) for count in counts))
