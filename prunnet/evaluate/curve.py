"""Measuring an encoder: how every capacity retrieves from the dense gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from prunnet.cost import trace
from prunnet.data.source import RetrievalSet
from prunnet.encoder.embedding import embed
from prunnet.evaluate.family import CutFamily, Family
from prunnet.evaluate.leave_one_out import LeaveOneOut
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.arrays import Pixels

CAPACITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its 95 % bootstrap interval over classes, in points (0..100)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One subnetwork on the curve. mAP and Recall@1 in points (0..100)."""

    capacity: float
    achieved: float
    parameters: int
    mflops: float
    """Millions of floating point operations, 2 x MACs."""
    cross_map: float
    """Its queries against the dense gallery."""
    self_map: float
    """Its queries against a gallery that it embedded itself."""
    cross_recall_at_1: float
    self_recall_at_1: float
    below_dense: Interval
    """Dense mAP minus cross-test mAP, query by query."""
    cross_minus_self: Interval
    """Cross-test mAP minus self-test mAP, query by query; compatible when it is not below zero."""


@dataclass(frozen=True)
class Curve:
    """Quality by capacity, against one dense gallery."""

    dense_map: float
    dense_recall_at_1: float
    queries: int
    points: tuple[Point, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def reachable(prunable: PrunableEncoder, capacities: Sequence[float] = CAPACITIES) -> tuple[float, ...]:
    """Return those capacities that are not below the encoder's smallest subnetwork."""
    smallest = prunable.capacities()[0]
    return tuple(capacity for capacity in capacities if capacity >= smallest)


def measure_curve(
    prunable: PrunableEncoder,
    calibration: Pixels,
    benchmark: RetrievalSet,
    capacities: Sequence[float] = CAPACITIES,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Curve:
    """Measure cross- and self-test at several capacities.

    Args:
        prunable: The encoder; its dense BatchNorm statistics are final.
        calibration: uint8 [C, H, W, 3], for the subnetworks' BatchNorm statistics.
        benchmark: Pixels to retrieve, every one against all the others.
        capacities: Asked capacities in (0, 1].
        say: Told after each capacity.
    """
    return measure_family(CutFamily(prunable, calibration, capacities), benchmark, capacities, say=say)


def measure_family(
    family: Family,
    benchmark: RetrievalSet,
    capacities: Sequence[float],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Curve:
    """Measure cross- and self-test of a family's encoders; see `measure_curve`.

    Args:
        family: Where the encoders come from.
        benchmark: Pixels to retrieve, every one against all the others.
        capacities: Some of the family's.
        say: Told after each capacity.
    """
    retrieval = LeaveOneOut(benchmark.labels)
    dense = embed(family.subnetwork(1.0), benchmark.images)
    best = retrieval.measure(dense, dense)
    points = []
    for capacity in capacities:
        module = family.subnetwork(capacity)
        own = embed(module, benchmark.images)
        cross, alone = retrieval.measure(own, dense), retrieval.measure(own, own)
        points.append(
            Point(
                capacity=capacity,
                achieved=round(family.achieved(capacity), 4),
                parameters=sum(p.numel() for p in module.parameters()),
                mflops=round(flops(module, benchmark.images.shape[1:3]) / 1e6, 3),
                cross_map=cross.map,
                self_map=alone.map,
                cross_recall_at_1=cross.recall_at_1,
                self_recall_at_1=alone.recall_at_1,
                below_dense=interval(best.precision - cross.precision, benchmark.labels),
                cross_minus_self=interval(cross.precision - alone.precision, benchmark.labels),
            )
        )
        say(f"capacity {capacity:g}: cross-test mAP {cross.map}, self-test {alone.map}")
    counted = int(np.isfinite(best.precision).sum())
    return Curve(best.map, best.recall_at_1, counted, tuple(points))


def interval(values: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Interval:
    """Bootstrap a mean over queries by drawing whole classes: queries of one class are not independent.

    Args:
        values: float64 [Q]; NaN does not count.
        labels: int64 [Q].

    Returns:
        The mean and its 95 % interval, in points.
    """
    counted = np.isfinite(values)
    _, classes = np.unique(labels[counted], return_inverse=True)
    sums = np.bincount(classes, weights=values[counted])
    counts = np.bincount(classes)
    draws = np.random.default_rng(0).integers(0, len(sums), (_RESAMPLES, len(sums)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(*(round(100 * float(v), 2) for v in (values[counted].mean(), low, high)))


def flops(module: nn.Module, image_size: tuple[int, ...]) -> int:
    """Return the floating point operations of one image, 2 x MACs."""
    return 2 * trace(module, (3, image_size[0], image_size[1])).macs
