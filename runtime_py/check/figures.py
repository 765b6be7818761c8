"""The figures of one set of embeddings on a bundle's probes; they judge nothing.

A probe whose embedding has no direction (NaN, infinite or zero) counts as the worst there is: cosine -1, nothing
retrieved. Pictures that the dense encoder embeds alike, within rounding, are copies: a probe retrieves neither itself
nor a copy of itself, and no rounding decides which of several copies comes first. A nearest item is as good as another
that the reference scores equal within rounding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Doubles, Floats
from runtime_py.bundle.manifest import Figures
from runtime_py.bundle.probes import Probes, unit_lengths
from runtime_py.check.chance import Chance, chance_of
from runtime_py.check.closeness import closeness, own_picture
from runtime_py.check.duplicates import ROUNDING, gallery_scores, representatives
from runtime_py.check.parity_pictures import name_of
from runtime_py.errors import IncompatibleError
from runtime_py.retrieval import metrics

TOP_K = 10
"""Neighbours that `topk_overlap` compares; fewer if there are fewer probes."""


def figures_of(embeddings: Floats, probes: Probes, synthetic: Floats | None = None) -> Figures:
    """Compute the figures.

    Args:
        embeddings: float32 [P, D], what a runtime made of `probes.images`, in order.
        probes: The images' reference embeddings.
        synthetic: float32 [S, D], what it made of `probes.parity.images`; None if it was not asked, which leaves
            their figures None.

    Raises:
        IncompatibleError: The embeddings are not [P, D] and [S, D]: they cannot live in the probes' space.
    """
    _expect_shape(embeddings, probes.dense)
    usable, queries = _usable(embeddings)
    to_subnetwork = _cosines(queries, probes.subnetwork, usable)

    first = representatives(probes.dense)
    itself, relevant = _gallery_of(probes, first)
    scores, reference, dense = (
        gallery_scores(vectors, probes.dense, first) for vectors in (queries, probes.subnetwork, probes.dense)
    )
    k = max(1, min(TOP_K, int((~itself).sum(axis=1).min())))
    mine, theirs = (
        np.take_along_axis(reference, metrics.top_k(found, k, itself), axis=1)
        for found in (scores, reference)
    )
    chance = _chance(itself, relevant)

    def mean(values: Doubles) -> float:
        return float(values[chance.counted].mean()) if chance.counted.any() else 0.0

    known_hits = metrics.recalls_at_k(reference, relevant, 1, itself)
    dense_hits = metrics.recalls_at_k(dense, relevant, 1, itself)
    worst, picture = _synthetic(synthetic, probes)
    to_recorded = _to_recorded(embeddings, synthetic, probes)
    embedded = [embeddings] if synthetic is None else [embeddings, synthetic]
    return Figures(
        probes=len(probes),
        finite=all(bool(np.isfinite(part).all()) for part in embedded),
        unit_length=all(bool(unit_lengths(part).all()) for part in embedded),
        min_cosine=float(to_subnetwork.min()),
        mean_cosine=float(to_subnetwork.mean()),
        top1_agreement=float((as_near(mine[:, :1], theirs[:, :1])[:, 0] & usable).mean()),
        topk_overlap=float((as_near(mine, theirs).mean(axis=1) * usable).mean()),
        worst_probe=int(to_subnetwork.argmin()),
        recall_at_1=mean(metrics.recalls_at_k(scores, relevant, 1, itself) * usable),
        recall_at_1_dense=mean(dense_hits),
        map=mean(metrics.average_precisions(scores, relevant, itself) * usable),
        map_dense=mean(metrics.average_precisions(dense, relevant, itself)),
        mean_cosine_to_dense=float(_cosines(queries, probes.dense, usable).mean()),
        queries=int(chance.counted.sum()),
        queries_that_can_fail=chance.failing(dense_hits),
        recall_at_1_chance=mean(chance.recall_at_1),
        map_chance=mean(chance.average_precision),
        closeness=closeness(scores, dense, usable),
        own_picture=own_picture(scores, dense, itself, usable),
        synthetic_min_cosine=worst,
        worst_picture=picture,
        recall_at_1_subnetwork=mean(known_hits),
        map_subnetwork=mean(metrics.average_precisions(reference, relevant, itself)),
        recorded_min_cosine=None if to_recorded is None else float(to_recorded.min()),
        recorded_mean_cosine=None if to_recorded is None else float(to_recorded.mean()),
    )


def chance_on(probes: Probes) -> Chance:
    """Return what random embeddings would score on the probes."""
    return _chance(*_gallery_of(probes, representatives(probes.dense)))


def _chance(itself: metrics.Mask, relevant: metrics.Mask) -> Chance:
    return chance_of(relevant.sum(axis=1), (~itself).sum(axis=1))


def _gallery_of(probes: Probes, first: metrics.Labels) -> tuple[metrics.Mask, metrics.Mask]:
    """Return bool [P, P] twice: what is no part of each probe's gallery, and what it should find there."""
    itself = first[:, None] == first
    return itself, (probes.labels[:, None] == probes.labels) & ~itself


def as_near(mine: Floats, theirs: Floats) -> metrics.Mask:
    """Tell which items found belong, by a reference's scores, among its own first as many.

    Args:
        mine: float32 [Q, k], the reference's scores of the items that were found.
        theirs: float32 [Q, k], its scores of the items that it finds itself.

    Returns:
        bool [Q, k]: whether an item scores as high as the reference's k-th, or equal within rounding.
    """
    bound = theirs.min(axis=1, keepdims=True).astype(np.float64) - ROUNDING
    return np.asarray(mine >= bound, np.bool_)


def _synthetic(embeddings: Floats | None, probes: Probes) -> tuple[float | None, str | None]:
    """Return the smallest cosine of the parity pictures and the picture that has it."""
    if embeddings is None or probes.parity is None:
        return None, None
    _expect_shape(embeddings, probes.parity.subnetwork)
    usable, queries = _usable(embeddings)
    cosines = _cosines(queries, probes.parity.subnetwork, usable)
    return float(cosines.min()), name_of(int(cosines.argmin()))


def _to_recorded(embeddings: Floats, synthetic: Floats | None, probes: Probes) -> Doubles | None:
    """Return the cosines of everything embedded with what the artifact gave at the export."""
    if probes.recorded is None:
        return None
    pairs = [(embeddings, probes.recorded.probes)]
    pairs += [] if synthetic is None else [(synthetic, probes.recorded.parity)]
    cosines = []
    for now, then in pairs:
        usable, queries = _usable(now)
        cosines.append(_cosines(queries, then, usable))
    return np.concatenate(cosines)


def _expect_shape(embeddings: Floats, wanted: Floats) -> None:
    if embeddings.shape != wanted.shape:
        raise IncompatibleError(
            f"the embeddings have shape {list(embeddings.shape)}, the probes' have {list(wanted.shape)}"
        )


def _usable(embeddings: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Tell which rows have a direction, and put a stand-in (never counted) where there is none."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    stand_in = np.eye(1, embeddings.shape[1], dtype=np.float32)[0]
    return usable, np.where(usable[:, None], embeddings, stand_in)


def _cosines(queries: Floats, reference: Floats, usable: npt.NDArray[np.bool_]) -> Doubles:
    return np.where(usable, metrics.row_cosines(queries, reference), -1.0)
