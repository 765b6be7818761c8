"""Methods at equal parameters or equal MACs: each method's measured points, joined by straight lines."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prunnet.errors import EvaluationError
from runtime_py.table import align

Points = Sequence[Mapping[str, Any]]
"""A method's measured points: rows of a `Matrix`, points of a `Curve`, or any dictionaries with the same keys."""


@dataclass(frozen=True)
class Reading:
    """A figure of one method at one size."""

    size: float
    value: float | None
    """None outside the sizes that were measured; nothing is extrapolated."""
    why: str | None = None
    """Why there is no value."""


@dataclass(frozen=True)
class Comparison:
    """One figure of several methods at the same sizes."""

    axis: str
    """Which key of the points is the size."""
    figure: str
    """Which key is compared."""
    readings: dict[str, tuple[Reading, ...]]
    """Method -> one reading for each size."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Return plain text: a row for each size, a column for each method."""
        sizes = [reading.size for reading in next(iter(self.readings.values()))]
        rows = [[self.axis, *self.readings]]
        for number, size in enumerate(sizes):
            found = [column[number].value for column in self.readings.values()]
            rows.append([f"{size:,g}", *("-" if value is None else f"{value:.2f}" for value in found)])
        lines = align(rows)
        lines += [
            f"- {method}: {missing[0]}"
            for method, column in self.readings.items()
            if (missing := [reading.why for reading in column if reading.why])
        ]
        return "\n".join([f"{self.figure} at equal {self.axis}", *lines])


def compare(
    methods: Mapping[str, Points], axis: str, sizes: Sequence[float], figure: str = "cross_map"
) -> Comparison:
    """Read every method's figure at the same sizes.

    Args:
        methods: Name -> measured points, in any order.
        axis: Key of the size: "achieved", "nonzero_parameters", "macs", "mflops", "capacity".
        sizes: Where to read, in the axis' own unit.
        figure: Key of the figure; the larger the better.

    Raises:
        EvaluationError: No method, no size, a method without points, or a value that is missing or not finite.

    >>> points = [{"macs": 10, "cross_map": 40.0}, {"macs": 30, "cross_map": 60.0}]
    >>> [reading.value for reading in compare({"mine": points}, "macs", [20, 40]).readings["mine"]]
    [50.0, None]
    """
    if not methods or not sizes:
        raise EvaluationError("a comparison needs at least one method and one size")
    return Comparison(
        axis=axis,
        figure=figure,
        readings={
            name: tuple(_read(_line(name, points, axis, figure), float(size), axis) for size in sizes)
            for name, points in methods.items()
        },
    )


def tax(joint: Points, alone: Points, axis: str, figure: str = "self_map") -> tuple[Reading, ...]:
    """Say what sharing one network costs: independent networks of the same size minus the joint one's encoders.

    Args:
        joint: Points of the encoders that share a network.
        alone: Points of networks trained each for itself.
        axis: Key of the size.
        figure: Key of the figure; the self-test, because independent networks share no space.

    Returns:
        One reading for each size of `joint`, ascending; positive is a loss.

    Raises:
        EvaluationError: As `compare`.
    """
    theirs = _line("independent networks", alone, axis, figure)
    result = []
    for size, mine in _line("joint network", joint, axis, figure):
        there = _read(theirs, size, axis)
        result.append(Reading(size, None if there.value is None else there.value - mine, there.why))
    return tuple(result)


def _line(name: str, points: Points, axis: str, figure: str) -> list[tuple[float, float]]:
    """Return (size, figure) ascending by size.

    Of several points of one size the best counts, as somebody would choose who can afford that size: every subnetwork
    of granularity `weight` has the dense encoder's MACs.
    """
    best: dict[float, float] = {}
    for point in points:
        size, value = _number(name, point, axis), _number(name, point, figure)
        best[size] = max(value, best.get(size, -math.inf))
    if not best:
        raise EvaluationError(f"{name} has no measured point")
    return sorted(best.items())


def _number(name: str, point: Mapping[str, Any], key: str) -> float:
    if key not in point:
        raise EvaluationError(f"a point of {name} has no {key!r}; it has {', '.join(map(repr, point))}")
    value = point[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EvaluationError(f"{key} of {name} is {value!r}; a finite number is needed")
    return float(value)


def _read(line: list[tuple[float, float]], size: float, axis: str) -> Reading:
    sizes = [x for x, _ in line]
    if not sizes[0] <= size <= sizes[-1]:
        return Reading(size, None, f"measured between {sizes[0]:,g} and {sizes[-1]:,g} {axis} only")
    right = bisect_left(sizes, size)
    if sizes[right] == size:
        return Reading(size, line[right][1])
    (x0, y0), (x1, y1) = line[right - 1], line[right]
    return Reading(size, y0 + (y1 - y0) * (size - x0) / (x1 - x0))
