"""The one place where drift is judged: two gates, kept apart.

* parity: the artifact against the torch subnetwork that it came from. The export's own error.
* compatibility: the artifact's queries against the **dense** gallery. What the user feels.

Every comparison is written so that NaN fails it. A probe whose embedding has no direction (NaN, infinite or
zero) counts as the worst there is: cosine -1, nothing retrieved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime_py import metrics
from runtime_py.errors import IncompatibleError
from runtime_py.manifest import DriftRecord, Figures, Tolerances, Verdict
from runtime_py.probes import Probes, unit_lengths

TOP_K = 10
"""Neighbours that `topk_overlap` compares; fewer if there are fewer probes."""

_ROUNDING = 1e-9
"""Slack of every comparison: 0.90 - 0.85 is 0.05 to the user, but not in floating point."""


@dataclass(frozen=True)
class Gate:
    """One figure against its tolerance."""

    name: str
    """Gate and figure, e.g. "parity.min_cosine"."""
    value: float
    tolerance: float
    passed: bool
    at_least: bool = True
    """Whether the tolerance is the smallest (else the largest) allowed value."""

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        return f"{self.name} is {self.value:.6g}, {relation} {self.tolerance:g} is demanded"


def at_least(name: str, value: float, tolerance: float) -> Gate:
    """Return a gate that passes if `value` is `tolerance` or more; NaN fails."""
    return Gate(name, value, tolerance, passed=bool(value >= tolerance - _ROUNDING))


def at_most(name: str, value: float, tolerance: float) -> Gate:
    """Return a gate that passes if `value` is `tolerance` or less; NaN fails."""
    return Gate(name, value, tolerance, passed=bool(value <= tolerance + _ROUNDING), at_least=False)


def measure(
    embeddings: npt.NDArray[np.float32], probes: Probes, tolerances: Tolerances, runtime: str
) -> DriftRecord:
    """Judge what a runtime made of the probes' images.

    Args:
        embeddings: float32 [P, D], the artifact's embeddings of `probes.images`, in order.
        probes: The images' reference embeddings.
        tolerances: What the figures may be.
        runtime: Sentence that names the runtime that made `embeddings`.

    Returns:
        Verdict, reasons and all figures. `not verified` if nothing failed, but the dense encoder itself finds
        so little among the probes that no drop could have exceeded its tolerance.

    Raises:
        IncompatibleError: The embeddings are not [P, D]: they can not live in the probes' space.
    """
    figures = figures_of(embeddings, probes)
    reasons = describe(gates(figures, tolerances), figures.worst_probe)
    verdict: Verdict = "incompatible" if reasons else "compatible"
    if not reasons and _toothless(figures, tolerances):
        verdict = "not verified"
        reasons = (
            f"the dense encoder's own Recall@1 on the probes is {figures.recall_at_1_dense:.3f} and its mAP "
            f"{figures.map_dense:.3f}: no drop could exceed its tolerance, so compatibility was not tested",
        )
    return DriftRecord(
        verdict=verdict,
        reasons=reasons,
        figures=figures,
        tolerances=tolerances,
        runtime=runtime,
    )


def gates(figures: Figures, tolerances: Tolerances) -> tuple[Gate, ...]:
    """Compare every figure that has a tolerance; the verdict is `compatible` if all pass."""
    return (
        at_least("parity.finite", float(figures.finite), 1.0),
        at_least("parity.unit_length", float(figures.unit_length), 1.0),
        at_least("parity.min_cosine", figures.min_cosine, tolerances.min_cosine),
        at_least("parity.mean_cosine", figures.mean_cosine, tolerances.min_mean_cosine),
        at_least("parity.top1_agreement", figures.top1_agreement, tolerances.min_top1_agreement),
        at_most(
            "compatibility.recall_at_1_drop",
            figures.recall_at_1_dense - figures.recall_at_1,
            tolerances.max_recall_drop,
        ),
        at_most("compatibility.map_drop", figures.map_dense - figures.map, tolerances.max_map_drop),
    )


def describe(judged: tuple[Gate, ...], worst_probe: int) -> tuple[str, ...]:
    """Return one sentence for each gate that failed."""
    return tuple(f"{gate} (worst probe: {worst_probe})" for gate in judged if not gate.passed)


def figures_of(embeddings: npt.NDArray[np.float32], probes: Probes) -> Figures:
    """Compute the figures alone; see `measure`."""
    if embeddings.shape != probes.dense.shape:
        raise IncompatibleError(
            f"the embeddings have shape {list(embeddings.shape)}, the probes' have {list(probes.dense.shape)}"
        )
    usable, queries = _usable(embeddings)
    to_subnetwork = _cosines(queries, probes.subnetwork, usable)
    to_dense = _cosines(queries, probes.dense, usable)

    itself = np.eye(len(probes), dtype=bool)
    relevant = (probes.labels[:, None] == probes.labels) & ~itself
    scores = metrics.cosine_matrix(queries, probes.dense)
    reference = metrics.cosine_matrix(probes.subnetwork, probes.dense)
    dense = metrics.cosine_matrix(probes.dense, probes.dense)
    k = min(TOP_K, len(probes) - 1)
    found, expected = metrics.top_k(scores, k, itself), metrics.top_k(reference, k, itself)
    counted = relevant.any(axis=1)

    def mean(values: npt.NDArray[np.float64]) -> float:
        return float(values[counted].mean())

    return Figures(
        probes=len(probes),
        finite=bool(np.isfinite(embeddings).all()),
        unit_length=bool(unit_lengths(embeddings).all()),
        min_cosine=float(to_subnetwork.min()),
        mean_cosine=float(to_subnetwork.mean()),
        top1_agreement=float(((found[:, 0] == expected[:, 0]) & usable).mean()),
        topk_overlap=float((metrics.shared(found, expected) * usable).mean()),
        worst_probe=int(to_subnetwork.argmin()),
        recall_at_1=mean(metrics.recalls_at_k(scores, relevant, 1, itself) * usable),
        recall_at_1_dense=mean(metrics.recalls_at_k(dense, relevant, 1, itself)),
        map=mean(metrics.average_precisions(scores, relevant, itself) * usable),
        map_dense=mean(metrics.average_precisions(dense, relevant, itself)),
        mean_cosine_to_dense=float(to_dense.mean()),
    )


def _toothless(figures: Figures, tolerances: Tolerances) -> bool:
    """Tell whether both drops were sure to pass, though somebody wanted them judged (a tolerance below 1)."""
    wanted = min(tolerances.max_recall_drop, tolerances.max_map_drop) < 1
    sure = (
        figures.recall_at_1_dense <= tolerances.max_recall_drop
        and figures.map_dense <= tolerances.max_map_drop
    )
    return wanted and sure


def _usable(
    embeddings: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Tell which rows have a direction, and put a stand-in (never counted) where there is none."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    stand_in = np.eye(1, embeddings.shape[1], dtype=np.float32)[0]
    return usable, np.where(usable[:, None], embeddings, stand_in)


def _cosines(
    queries: npt.NDArray[np.float32], reference: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    return np.where(usable, metrics.row_cosines(queries, reference), -1.0)
