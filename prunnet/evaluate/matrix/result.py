"""What the matrix says, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from prunnet.evaluate.curve import Interval
from runtime_py.table import align

Grid = tuple[tuple[float, ...], ...]
"""Rows: capacity of the query encoder; columns: capacity of the gallery encoder; both ascending."""


@dataclass(frozen=True)
class Flips:
    """Queries whose first item changes its verdict when a subnetwork takes the dense encoder's place, in points."""

    negative: float
    """Right with dense queries, wrong with the subnetwork's, both on the dense gallery."""
    positive: float
    """Wrong with dense queries, right with the subnetwork's."""


@dataclass(frozen=True)
class MixedGallery:
    """mAP, in points, on a gallery of which the subnetwork embedded a share and dense the rest."""

    own_queries: float
    """Queries of the subnetwork."""
    dense_queries: float
    """Queries of the dense encoder."""


@dataclass(frozen=True)
class Row:
    """One encoder against dense. mAP and Recall@1 in points."""

    capacity: float
    achieved: float
    """Kept / dense prunable parameters."""
    parameters: int
    """Numbers that the encoder's tensors hold."""
    nonzero_parameters: int
    """Those that are not zero: granularity `weight` keeps the tensors and zeroes what is pruned."""
    macs: int
    """Multiply-accumulates of one image; FLOPs are twice as many."""
    cross_map: float
    self_map: float
    cross_recall_at_1: float
    self_recall_at_1: float
    below_dense: Interval
    """Dense mAP minus cross-test mAP, query by query."""
    cross_minus_self: Interval
    """Cross-test mAP minus self-test mAP, query by query."""
    flips: Flips
    mixed: MixedGallery


@dataclass(frozen=True)
class Matrix:
    """A family of encoders, every pair."""

    capacities: tuple[float, ...]
    map: Grid
    """mAP in points."""
    recall_at_1: Grid
    """Recall@1 in points."""
    compatible: tuple[tuple[bool, ...], ...]
    """Whether the pair retrieves at least as well (mAP) as the smaller of the two on its own gallery."""
    rows: tuple[Row, ...]
    """Each capacity against dense."""
    queries: int
    """Queries that count."""
    mixed_share: float
    """Share of the mixed gallery that the subnetwork embedded, in [0, 1]."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Return the matrix and the rows against dense as plain text."""
        names = [f"{capacity:g}" for capacity in self.capacities]
        grid = [["query \\ gallery", *names]]
        for name, values, fits in zip(names, self.map, self.compatible, strict=True):
            grid.append([name, *(f"{v:.1f}{' ' if ok else '!'}" for v, ok in zip(values, fits, strict=True))])
        against = [_HEADER, *(_cells(row) for row in self.rows)]
        return "\n".join(
            [
                "mAP by capacity of the query encoder (rows) and of the gallery encoder (columns)",
                *align(grid),
                f"{self._incompatible} of {len(names) * (len(names) - 1)} pairs are below the self-test of "
                "their smaller encoder (marked !)",
                "",
                "against the dense gallery (95 % intervals over classes)",
                *align(against),
                f"mixed: {self.mixed_share:.0%} of the gallery embedded by the subnetwork, the rest by dense",
            ]
        )

    @property
    def _incompatible(self) -> int:
        return sum(not fits for row in self.compatible for fits in row)


_HEADER = [
    "capacity",
    "reached",
    "MMACs",
    "cross mAP",
    "self mAP",
    "cross R@1",
    "below dense",
    "cross - self",
    "flips -/+",
    "mixed own/dense",
]


def _cells(row: Row) -> list[str]:
    return [
        f"{row.capacity:g}",
        f"{row.achieved:.3f}",
        f"{row.macs / 1e6:.2f}",
        f"{row.cross_map:.1f}",
        f"{row.self_map:.1f}",
        f"{row.cross_recall_at_1:.1f}",
        _interval(row.below_dense),
        _interval(row.cross_minus_self),
        f"{row.flips.negative:.1f}/{row.flips.positive:.1f}",
        f"{row.mixed.own_queries:.1f}/{row.mixed.dense_queries:.1f}",
    ]


def _interval(value: Interval) -> str:
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"
