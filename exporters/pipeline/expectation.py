"""Holds a fresh artifact's retrieval against what training measured of the encoder at that capacity.

Parity cannot see a fault that lies before the conversion (a subnetwork cut wrong, BatchNorm statistics of another
one): the artifact and the torch subnetwork share it. The package's curve was measured on all test images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prunnet.errors import EncoderError
from runtime_py.bundle.manifest import DriftRecord
from runtime_py.check.gates import Gate, at_most, describe

QUERY_SPREAD = 0.16
"""Standard deviation, over queries, of the drop in average precision. The built-in encoder's curve has a 95 % interval
of 0.0069 on 8,035 queries: 0.0069 / 2 / 1.96 * sqrt(8035)."""

SIGMAS = 3.0

_Percent = Annotated[float, Field(ge=0, le=100)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Point(_Part):
    """What training measured of one subnetwork."""

    achieved: float = Field(gt=0, le=1)
    """Capacity reached."""
    cross_map: _Percent
    """Mean average precision of its queries in the dense gallery."""


class Curve(_Part):
    """`metrics.curve` of `encoder.json`, as far as it is read here."""

    dense_map: _Percent
    points: tuple[Point, ...] = Field(min_length=1)

    @property
    def smallest(self) -> float:
        """The smallest capacity that was measured."""
        return min(point.achieved for point in self.points)

    def map_drop(self, capacity: float) -> float:
        """Return dense mAP minus that of the subnetwork's queries, as a fraction.

        Linear between the points. Below the smallest and above the largest, it is what that point measured.
        """
        reached = sorted((point.achieved, self.dense_map - point.cross_map) for point in self.points)
        where, drops = zip(*reached, strict=True)
        return float(np.interp(capacity, where, drops)) / 100


def read_curve(metrics: dict[str, Any], file: str | Path) -> Curve | None:
    """Read the accuracy curve of a package.

    Args:
        metrics: `metrics` of `encoder.json`.
        file: That file, for the error.

    Returns:
        None if there is none (an official benchmark's protocol, a package of yours).

    Raises:
        EncoderError: It is there and malformed; lists every problem.
    """
    if "curve" not in metrics:
        return None
    try:
        return Curve.model_validate(metrics["curve"])
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, ('metrics', 'curve', *each['loc'])))}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
        raise EncoderError(
            f"{file}: {'; '.join(problems)}; write the package again with prunnet-train, or remove metrics.curve: "
            "exports are then not held against it"
        ) from error


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
