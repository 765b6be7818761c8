"""Measuring an encoder: how every capacity retrieves from the dense gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prunnet.batchnorm import reestimate
from prunnet.cost import trace
from prunnet.data.source import Benchmark, Images
from prunnet.prunable import PrunableEncoder
from prunnet.server import embed
from runtime_py.metrics import average_precisions

CAPACITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_ROWS = 256
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
    calibration: Images,
    benchmark: Benchmark,
    capacities: Sequence[float] = CAPACITIES,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Curve:
    """Measure cross- and self-test at several capacities.

    Args:
        prunable: The encoder; its dense BatchNorm statistics are final.
        calibration: uint8 [C, H, W, 3], for the subnetworks' BatchNorm statistics.
        benchmark: Images to retrieve, every one against all the others.
        capacities: Asked capacities in (0, 1].
        say: Told after each capacity.
    """
    dense = embed(prunable.extract(1.0), benchmark.images)
    dense_ap, dense_recall = _per_query(dense, dense, benchmark.labels)
    points = []
    for capacity in capacities:
        module = prunable.extract(capacity)
        if prunable.achieved(capacity) < 1:
            reestimate(module, torch.from_numpy(calibration))
        own = embed(module, benchmark.images)
        cross_ap, cross_recall = _per_query(own, dense, benchmark.labels)
        self_ap, self_recall = _per_query(own, own, benchmark.labels)
        points.append(
            Point(
                capacity=capacity,
                achieved=round(prunable.achieved(capacity), 4),
                parameters=sum(p.numel() for p in module.parameters()),
                mflops=round(flops(module, benchmark.images.shape[1:3]) / 1e6, 3),
                cross_map=_points(cross_ap),
                self_map=_points(self_ap),
                cross_recall_at_1=_points(cross_recall),
                self_recall_at_1=_points(self_recall),
                below_dense=interval(dense_ap - cross_ap, benchmark.labels),
                cross_minus_self=interval(cross_ap - self_ap, benchmark.labels),
            )
        )
        say(f"capacity {capacity:g}: cross-test mAP {points[-1].cross_map}, self-test {points[-1].self_map}")
    counted = int(np.isfinite(dense_ap).sum())
    return Curve(_points(dense_ap), _points(dense_recall), counted, tuple(points))


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


def _per_query(
    queries: npt.NDArray[np.float32], gallery: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (average precision, hit at 1) of each query; an image never retrieves itself."""
    precisions, hits = [], []
    for start in range(0, len(queries), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(queries)))
        scores = queries[rows] @ gallery.T
        itself = np.zeros(scores.shape, dtype=bool)
        itself[np.arange(len(rows)), rows] = True
        relevant = labels[rows, None] == labels[None]
        precisions.append(average_precisions(scores, relevant, itself))
        scores[itself] = -np.inf
        hit = relevant[
            np.arange(len(rows)), scores.argmax(1)
        ]  # the first of equal scores, as `ranking` has it
        hits.append(np.where(np.isfinite(precisions[-1]), hit, np.nan))
    return np.concatenate(precisions), np.concatenate(hits)


def _points(values: npt.NDArray[np.float64]) -> float:
    return round(100 * float(np.nanmean(values)), 2)
