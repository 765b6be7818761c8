"""The one place where drift is judged: figures, gates, a verdict.

`incompatible` if a gate fails (`runtime_py.check.gates` has the families). `not verified` if none does, but the probes
could not have shown a fault: where chance would pass, nothing was tested.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Floats
from runtime_py.bundle.manifest import DriftRecord, Figures, Verdict
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import Tolerances
from runtime_py.check.chance import MIN_FAILING
from runtime_py.check.figures import TOP_K, chance_on, figures_of
from runtime_py.check.gates import Gate, at_least, at_most, describe, gates

__all__ = [
    "TOP_K",
    "Gate",
    "at_least",
    "at_most",
    "describe",
    "examine",
    "figures_of",
    "gates",
    "held_to",
    "measure",
    "untested",
]

Embed = Callable[[npt.NDArray[np.uint8]], Floats]


def held_to(exported: DriftRecord, runtime: str, recorded: Figures | None) -> Tolerances:
    """Return what a later check asks.

    Args:
        exported: What the exporter measured.
        runtime: Sentence that names the runtime now.
        recorded: The exporter's figures on the probes of this check.
    """
    if recorded is None:
        return exported.tolerances
    return exported.tolerances.between(exported.runtime, runtime, 1 - recorded.mean_cosine)


def examine(
    embed: Embed, probes: Probes, tolerances: Tolerances, runtime: str, recorded: Figures | None = None
) -> DriftRecord:
    """Embed everything that the probes hold, and judge it.

    Args:
        embed: Maps uint8 [N, H, W, 3] to float32 [N, D] on the runtime that is judged.
        probes: Probes, with parity pictures or (schema version 1) without.
        tolerances: What the figures may be.
        runtime: Sentence that names the runtime.
        recorded: The figures that the exporter measured, if this is a later check.
    """
    synthetic = None if probes.parity is None else embed(probes.parity.images)
    return measure(embed(probes.images), probes, tolerances, runtime, synthetic=synthetic, recorded=recorded)


def measure(
    embeddings: Floats,
    probes: Probes,
    tolerances: Tolerances,
    runtime: str,
    *,
    synthetic: Floats | None = None,
    recorded: Figures | None = None,
) -> DriftRecord:
    """Judge what a runtime made of the probes' images.

    Args:
        embeddings: float32 [P, D], the artifact's embeddings of `probes.images`, in order.
        probes: The images' reference embeddings.
        tolerances: What the figures may be.
        runtime: Sentence that names the runtime that made `embeddings`.
        synthetic: float32 [S, D], those of the parity pictures; None leaves their gate out.
        recorded: The figures that the exporter measured, if this is a later check.

    Returns:
        Verdict, reasons and all figures.

    Raises:
        IncompatibleError: The embeddings are not [P, D]: they cannot live in the probes' space.
    """
    figures = figures_of(embeddings, probes, synthetic)
    reasons = describe(gates(figures, tolerances, recorded))
    verdict: Verdict = "incompatible" if reasons else "compatible"
    if not reasons:
        reasons = untested(figures, probes, tolerances)
        verdict = "not verified" if reasons else verdict
    return DriftRecord(
        verdict=verdict,
        reasons=reasons,
        figures=figures,
        tolerances=tolerances,
        runtime=runtime,
    )


def untested(figures: Figures, probes: Probes, tolerances: Tolerances) -> tuple[str, ...]:
    """Say why the compatibility gates could not have failed; empty if they could.

    Nothing is asked of gates that nobody wanted (tolerances of 1).

    Args:
        figures: Figures of an artifact on the probes.
        probes: The probes.
        tolerances: The gates' tolerances.
    """
    if min(tolerances.max_recall_drop, tolerances.max_map_drop) >= 1:
        return ()
    chance = chance_on(probes)
    dropped = (
        ("Recall@1", figures.recall_at_1_dense, chance.recall_at_1, tolerances.max_recall_drop),
        ("mAP", figures.map_dense, chance.average_precision, tolerances.max_map_drop),
    )
    wanted = [row for row in dropped if row[3] < 1]
    reasons = []
    can_fail = figures.queries_that_can_fail or 0.0
    if can_fail < MIN_FAILING:
        reasons.append(
            f"random embeddings would lose {can_fail:.1f} of the {figures.probes} probes, {MIN_FAILING} are "
            f"needed to see a drop: {int(chance.counted.sum())} probes have something to find, the dense encoder's "
            f"Recall@1 on them is {figures.recall_at_1_dense:.3f}, that of chance "
            f"{figures.recall_at_1_chance or 0.0:.3f}. Give the encoder package probes of more classes, two or "
            "more pictures each"
        )
    lost = [
        (name, dense, chance.mean(expected), tolerance)
        for name, dense, expected, tolerance in wanted
        if not dense - chance.mean(expected) - chance.luck(expected) > tolerance
    ]
    if len(lost) == len(wanted):
        scores = "; ".join(
            f"{name} of chance {mean:.3f}, of the dense encoder {dense:.3f}, a drop of {tolerance:g} is allowed"
            for name, dense, mean, tolerance in lost
        )
        reasons.append(f"random embeddings would pass the gates: {scores}")
    return tuple(reasons)
