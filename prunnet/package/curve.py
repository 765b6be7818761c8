"""`metrics.curve` of `encoder.json`: what training measured of the encoder at each capacity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prunnet.errors import EncoderError

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
    """The curve, as far as it is read here."""

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
