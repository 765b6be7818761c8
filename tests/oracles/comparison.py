"""Slow, independent figures of comparisons, in exact fractions where the formula allows it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 60


def sigma(value: Fraction) -> float:
    """The logistic function with sixty digits."""
    exponent = Decimal(value.numerator) / Decimal(value.denominator)
    return float(1 / (1 + (-exponent).exp()))


def p_up(sets: Sequence[tuple[int, int, int, int]]) -> float:
    """AdvBCT's P_up of (new new, new old, old old, unconstrained)."""
    return sum(100 * sigma(Fraction(nn - star, star)) for nn, _, _, star in sets) / len(sets)


def p_comp(sets: Sequence[tuple[int, int, int, int]]) -> float:
    """AdvBCT's P_comp of the same."""
    return sum(100 * sigma(Fraction(no - oo, star - oo)) for _, no, oo, star in sets) / len(sets)


def on_the_line(points: Sequence[tuple[int, int]], size: int) -> Fraction | None:
    """The highest straight line at `size` between neighbours in size; None outside."""
    at = {x: max(y for other, y in points if other == x) for x, _ in points}
    if size in at:
        return Fraction(at[size])
    below, above = [x for x in at if x < size], [x for x in at if x > size]
    if not below or not above:
        return None
    left, right = max(below), min(above)
    part = Fraction(size - left, right - left)
    return (1 - part) * at[left] + part * at[right]
