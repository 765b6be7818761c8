"""Holds a fresh artifact's retrieval against what training measured of the encoder at that capacity.

Parity cannot see a fault that lies before the conversion (a subnetwork cut wrong, BatchNorm statistics of another
one): the artifact and the torch subnetwork share it. The package's curve was measured on all test images.
"""

from __future__ import annotations

import numpy as np

from prunnet.package.curve import Curve
from runtime_py.bundle.manifest import DriftRecord
from runtime_py.check.gates import Gate, at_most, describe

QUERY_SPREAD = 0.16
"""Standard deviation, over queries, of the drop in average precision. The built-in encoder's curve has a 95 % interval
of 0.0069 on 8,035 queries: 0.0069 / 2 / 1.96 * sqrt(8035)."""

SIGMAS = 3.0


def held_against_curve(record: DriftRecord, curve: Curve | None, capacity: float) -> tuple[DriftRecord, str]:
    """Make a record incompatible if its mAP drops by more than the curve says, sampling noise allowed for.

    Args:
        record: What verification measured.
        curve: What training measured.
        capacity: Capacity reached, in (0, 1].

    Returns:
        The record, with the reason `package.map_drop` where that gate fails; and a sentence for the report: the gate,
        or why it was not judged.
    """
    gate = _gate(record, curve, capacity)
    if isinstance(gate, str):
        return record, f"package.map_drop was not judged: {gate}"
    if gate.passed:
        return record, str(gate)
    reasons = (*(record.reasons if record.verdict == "incompatible" else ()), *describe((gate,)))
    return record.model_copy(update={"verdict": "incompatible", "reasons": reasons}), str(gate)


def _gate(record: DriftRecord, curve: Curve | None, capacity: float) -> Gate | str:
    """Return the gate, or why there is none."""
    figures = record.figures
    if curve is None:
        return "encoder.json holds no accuracy curve (metrics.curve)"
    if record.tolerances.max_map_drop >= 1:
        return "the profile allows any drop in mAP (max_map_drop)"
    if figures is None or not figures.queries:
        return "no probe has anything to find"
    expected = curve.map_drop(capacity)
    where = f"the package measured {expected:.3f} at capacity {max(capacity, curve.smallest):.3f}"
    if capacity < curve.smallest:
        where += f", its smallest; this is {capacity:.3f}, where more may be lost"
    margin = SIGMAS * QUERY_SPREAD / float(np.sqrt(figures.queries))
    return at_most("package.map_drop", figures.map_dense - figures.map, expected + margin, where)
