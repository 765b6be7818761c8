"""Holds a fresh artifact's retrieval against what training measured of the encoder at that capacity.

Parity cannot see a fault that lies before the conversion (a subnetwork cut wrong, BatchNorm statistics of another
one): the artifact and the torch subnetwork share it. The package's curve was measured on all test images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_py.gates import at_most, describe
from runtime_py.manifest import DriftRecord

QUERY_SPREAD = 0.16
"""Standard deviation, over queries, of the drop in average precision. The built-in encoder's curve has a 95 % interval
of 0.0069 on 8,035 queries: 0.0069 / 2 / 1.96 * sqrt(8035)."""

SIGMAS = 3.0


def held_against_curve(record: DriftRecord, metrics: dict[str, Any], capacity: float) -> DriftRecord:
    """Make a record incompatible if its mAP drops by more than the curve says, sampling noise allowed for.

    Args:
        record: What verification measured.
        metrics: `encoder.json`'s metrics; without a `curve` (an official benchmark's protocol, a package of
            yours) the record is returned as it is.
        capacity: Capacity reached, in (0, 1].

    Returns:
        The record, with the reason `package.map_drop` where that gate fails.
    """
    expected = expected_map_drop(metrics, capacity)
    figures = record.figures
    if expected is None or figures is None or not figures.queries:
        return record
    margin = SIGMAS * QUERY_SPREAD / float(np.sqrt(figures.queries))
    gate = at_most(
        "package.map_drop",
        figures.map_dense - figures.map,
        expected + margin,
        f"the package measured {expected:.3f} at capacity {capacity:.3f}",
    )
    if gate.passed or record.tolerances.max_map_drop >= 1:
        return record
    reasons = (*(record.reasons if record.verdict == "incompatible" else ()), *describe((gate,)))
    return record.model_copy(update={"verdict": "incompatible", "reasons": reasons})


def expected_map_drop(metrics: dict[str, Any], capacity: float) -> float | None:
    """Read the curve: dense mAP minus that of the subnetwork's queries, as a fraction; None without a curve."""
    try:
        curve = metrics["curve"]
        dense = float(curve["dense_map"])
        reached = sorted(
            (float(point["achieved"]), dense - float(point["cross_map"])) for point in curve["points"]
        )
        where, drops = zip(*reached, strict=True)
    except (KeyError, TypeError, ValueError):
        return None
    return float(np.interp(capacity, where, drops)) / 100
