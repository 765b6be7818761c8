"""Holds a bundle against the server's own model or gallery, instead of the embeddings stored with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime_py.arrays import Pixels
from runtime_py.bundle.manifest import DriftRecord, Manifest
from runtime_py.bundle.probes import Parity, Probes, unit_lengths
from runtime_py.bundle.tolerances import SERVER_MIN_COSINE, SERVER_MIN_MEAN_COSINE, Tolerances
from runtime_py.check.drift import TOP_K, Embed, measure
from runtime_py.check.figures import as_near, figures_of
from runtime_py.check.frames import seen_through_frames
from runtime_py.check.gates import Gate, at_least, at_most, describe, recorded_gates
from runtime_py.check.parity_pictures import name_of
from runtime_py.check.report import DriftReport
from runtime_py.check.server import ServerModel, open_server
from runtime_py.check.server.gallery import StoredGallery
from runtime_py.errors import IncompatibleError, InferenceError, PrunnetError
from runtime_py.retrieval import metrics


def check_server(
    manifest: Manifest,
    probes: Probes,
    embed: Embed,
    tolerances: Tolerances,
    runtime: str,
    path: str | Path,
) -> DriftReport:
    """Hold an artifact against a server; see `QueryEncoder.check`.

    Args:
        manifest: The bundle's manifest.
        probes: Its probes.
        embed: What the artifact does: uint8 [N, H, W, 3] to float32 [N, D], unit length.
        tolerances: What a later check on this runtime may find (`runtime_py.check.drift.held_to`).
        runtime: Name and version of what runs it.
        path: The server, one of `runtime_py.check.server.KINDS`.

    Raises:
        IncompatibleError: The server's space is another one; nothing was computed.
        InferenceError: The artifact or the server failed while it ran.
    """
    server = open_server(path)
    if server.space_id is None:
        return DriftReport(
            verdict="not verified",
            reasons=(
                f"server {path} does not say which space it embeds in (no space id): store the space id of its "
                "encoder package there (docs/guide/server.md says where)",
            ),
            figures=None,
            tolerances=tolerances,
            runtime=runtime,
            server=str(path),
        )
    if server.space_id != manifest.space_id:
        raise IncompatibleError(
            f"the bundle embeds in the space {manifest.space_id!r}, the server {path} in "
            f"{server.space_id!r}: export a bundle from the encoder that the server uses, "
            "or index the gallery again"
        )
    if isinstance(server, StoredGallery):
        report = _against_gallery(manifest.drift, probes, embed, tolerances, runtime, server)
    else:
        model = _BehindFrames(server, manifest) if manifest.resize_inside else server
        report = _against_model(manifest.drift, probes, embed, tolerances, runtime, model)
    return replace(report, server=str(path))


class _BehindFrames:
    """A server's model that is given what the artifact is given: frames, after the stated resize."""

    def __init__(self, server: ServerModel, manifest: Manifest) -> None:
        self._server, self._manifest = server, manifest
        self.space_id = server.space_id

    def embed(self, images: Pixels) -> metrics.Floats:
        """Embed uint8 [N, H, W, 3]; returns float32 [N, D]."""
        stated = self._manifest
        return self._server.embed(seen_through_frames(images, stated.takes.size, stated.preprocessing))


def _against_model(
    exported: DriftRecord,
    probes: Probes,
    embed: Embed,
    tolerances: Tolerances,
    runtime: str,
    server: ServerModel,
) -> DriftReport:
    """Judge the server's own drift first, then the bundle with the server's embeddings as its gallery.

    What the export recorded was measured with the gallery in the bundle, and is compared with that one.
    """
    dense = _embedded(server, probes.images, probes.dense)
    worst = int(np.argmin(unit_lengths(dense)))
    unit_length = at_least(
        "server.unit_length", float(unit_lengths(dense).all()), 1.0, f"worst probe: {worst}"
    )
    if not unit_length.passed:
        return DriftReport(
            verdict="incompatible",
            reasons=describe((unit_length,)),
            figures=None,
            tolerances=tolerances,
            runtime=runtime,
            gates=(unit_length,),
        )
    cosines = metrics.row_cosines(dense, probes.dense)
    figures = {"min_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean())}
    where = f"worst probe: {int(cosines.argmin())}"
    least = min(tolerances.min_cosine, SERVER_MIN_COSINE)
    least_mean = min(tolerances.min_mean_cosine, SERVER_MIN_MEAN_COSINE)
    judged = [
        unit_length,
        at_least("server.min_cosine", figures["min_cosine"], least, where),
        at_least("server.mean_cosine", figures["mean_cosine"], least_mean, where),
    ]
    if probes.parity is not None:
        judged.append(_parity_pictures(server, probes.parity, tolerances))
        figures["synthetic_min_cosine"] = judged[-1].value
    queries = embed(probes.images)
    synthetic = None if probes.parity is None else embed(probes.parity.images)
    record = measure(queries, replace(probes, dense=dense), tolerances, runtime, synthetic=synthetic)
    if exported.figures is not None:
        judged += recorded_gates(figures_of(queries, probes, synthetic), exported.figures, tolerances)
    return _extend(DriftReport.of(record), judged, figures)


def _embedded(server: ServerModel, images: Pixels, stored: metrics.Floats) -> metrics.Floats:
    """Let the server embed images; `stored` is what it should have made of them."""
    try:
        dense = np.asarray(server.embed(images), np.float32)
    except PrunnetError:
        raise
    except Exception as error:  # whatever runs the server's model has exceptions of its own
        raise InferenceError("the server", error) from error
    if dense.shape != stored.shape:
        raise IncompatibleError(
            f"the server's embeddings of the probes have shape {list(dense.shape)}, "
            f"those stored in the bundle {list(stored.shape)}"
        )
    return dense


def _parity_pictures(server: ServerModel, parity: Parity, tolerances: Tolerances) -> Gate:
    """Hold the server's embeddings of the parity pictures against the dense encoder's; no direction counts as -1."""
    dense = _embedded(server, parity.images, parity.dense)
    lengths = np.linalg.norm(dense.astype(np.float64), axis=1)
    cosines = np.einsum("nd,nd->n", dense.astype(np.float64), parity.dense) / np.where(
        lengths, lengths, np.nan
    )
    cosines = np.nan_to_num(cosines, nan=-1.0)
    worst = int(np.argmin(cosines))
    name, where = "server.synthetic_min_cosine", f"worst parity picture: {name_of(worst)}"
    stated = tolerances.min_synthetic_cosine
    least = SERVER_MIN_COSINE if stated is None else min(stated, SERVER_MIN_COSINE)
    return at_least(name, float(cosines[worst]), least, where)


def _against_gallery(
    exported: DriftRecord,
    probes: Probes,
    embed: Embed,
    tolerances: Tolerances,
    runtime: str,
    gallery: StoredGallery,
) -> DriftReport:
    """Judge the bundle by its own probes first, then retrieve them from the server's gallery.

    Parity holds the artifact's neighbours there against the subnetwork's; compatibility the artifact's
    Recall@1 and mAP against the dense queries', for the probes whose labels occur in the gallery. The
    agreement with the dense queries' neighbours is reported and has no tolerance: a smaller network may well
    find another image of the same thing first.
    """
    if gallery.embeddings.shape[1] != probes.dimension:
        raise IncompatibleError(
            f"the server's gallery has {gallery.embeddings.shape[1]} dimensions, "
            f"the bundle {probes.dimension}"
        )
    queries = embed(probes.images)
    synthetic = None if probes.parity is None else embed(probes.parity.images)
    recorded = exported.figures
    record = measure(queries, probes, tolerances, runtime, synthetic=synthetic, recorded=recorded)
    report = DriftReport.of(record, recorded)
    if not unit_lengths(queries).all():
        return report
    k = min(TOP_K, len(gallery.embeddings))
    found, dense, subnetwork = (
        metrics.nearest(vectors, gallery.embeddings, k)
        for vectors in (queries, probes.dense, probes.subnetwork)
    )
    as_found, as_expected = (
        _scores(probes.subnetwork, gallery.embeddings, items) for items in (found, subnetwork)
    )
    agreement = as_near(as_found[:, :1], as_expected[:, :1])[:, 0]
    figures = {
        "top1_agreement": float(agreement.mean()),
        "topk_overlap": float(as_near(as_found, as_expected).mean()),
        "top1_agreement_with_dense": float((found[:, 0] == dense[:, 0]).mean()),
        "topk_overlap_with_dense": float(metrics.shared(found, dense).mean()),
    }
    where = f"worst probe: {int(agreement.argmin())}"
    least = tolerances.min_top1_agreement
    judged = [at_least("server.top1_agreement", figures["top1_agreement"], least, where)]
    if np.isin(probes.labels, gallery.labels).any():
        mine, theirs = (
            metrics.evaluate(vectors, probes.labels, gallery.embeddings, gallery.labels)
            for vectors in (queries, probes.dense)
        )
        figures |= {"recall_at_1": mine.recall[1], "recall_at_1_dense": theirs.recall[1]}
        figures |= {"map": mine.mean_average_precision, "map_dense": theirs.mean_average_precision}
        recall_drop = theirs.recall[1] - mine.recall[1]
        map_drop = theirs.mean_average_precision - mine.mean_average_precision
        judged.append(at_most("server.recall_at_1_drop", recall_drop, tolerances.max_recall_drop))
        judged.append(at_most("server.map_drop", map_drop, tolerances.max_map_drop))
    return _extend(report, judged, figures)


def _scores(queries: metrics.Floats, gallery: metrics.Floats, items: metrics.Labels) -> metrics.Floats:
    """Cosine of each query [Q, D] with some gallery items of its own, int64 [Q, k]: float32 [Q, k]."""
    return np.asarray(np.einsum("qd,qkd->qk", queries, gallery[items]), np.float32)


def _extend(report: DriftReport, judged: Sequence[Gate], figures: dict[str, float]) -> DriftReport:
    reasons = describe(tuple(judged))
    return replace(
        report,
        verdict="incompatible" if reasons else report.verdict,
        reasons=(*reasons, *report.reasons),
        gates=(*judged, *report.gates),
        server_figures=figures,
    )
