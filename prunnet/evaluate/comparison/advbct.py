"""AdvBCT's two figures of an upgrade from an old to a new encoder.

For a family, the old encoder is a subnetwork, the new one its dense encoder, and the unconstrained one the same
network trained dense alone. M(n, o) is the test between the two; for prunnet that is the subnetwork's queries on the
dense gallery. P_up then speaks of the dense encoder's tax, P_comp of what the subnetwork gains from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prunnet.errors import EvaluationError


@dataclass(frozen=True)
class UpgradeScores:
    """M(query encoder, gallery encoder) on one data set, all of one scale that starts at zero (fractions or points).

    Raises:
        EvaluationError: A score is negative or not finite, or the unconstrained encoder scores zero.
    """

    new_new: float
    """M(n, n): the new (dense) encoder on its own gallery."""
    new_old: float
    """M(n, o): between the new and the old encoder, the cross-test."""
    old_old: float
    """M(o, o): the old encoder (subnetwork) on its own gallery."""
    unconstrained: float
    """M(*, *): the new encoder's architecture, trained without regard to the old one."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not math.isfinite(value) or value < 0:
                raise EvaluationError(f"{name} is {value!r}; a retrieval score is zero or more, and finite")
        if self.unconstrained == 0:
            raise EvaluationError("unconstrained is 0: an encoder that finds nothing is no measure of others")


def p_up(data_sets: Sequence[UpgradeScores]) -> float:
    """What compatibility costs the new encoder itself: 50 is nothing, less is a loss.

    Args:
        data_sets: One or more.

    Returns:
        Mean over the data sets of 100 sigma((M(n,n) - M(*,*)) / M(*,*)), in (0, 100).

    Raises:
        EvaluationError: No data set.

    >>> p_up([UpgradeScores(new_new=60, new_old=55, old_old=50, unconstrained=60)])
    50.0
    """
    return _mean([(s.new_new - s.unconstrained) / s.unconstrained for s in data_sets])


def p_comp(data_sets: Sequence[UpgradeScores]) -> float:
    """How much of the possible gain over the old encoder the cross-test has: 50 is none, 73.1 all of it.

    Args:
        data_sets: One or more.

    Returns:
        Mean over the data sets of 100 sigma((M(n,o) - M(o,o)) / (M(*,*) - M(o,o))), in (0, 100).

    Raises:
        EvaluationError: No data set, or on one the unconstrained encoder is not better than the old: there is no gain
            of which a part could be had.

    >>> round(p_comp([UpgradeScores(new_new=60, new_old=55, old_old=50, unconstrained=60)]), 2)
    62.25
    """
    for scores in data_sets:
        if scores.unconstrained <= scores.old_old:
            raise EvaluationError(
                f"P_comp has no meaning: the unconstrained encoder scores {scores.unconstrained:g}, not above the old "
                f"encoder's {scores.old_old:g}; compare cross- and self-test instead"
            )
    return _mean([(s.new_old - s.old_old) / (s.unconstrained - s.old_old) for s in data_sets])


def _mean(gains: Sequence[float]) -> float:
    if not gains:
        raise EvaluationError("no data set was given; AdvBCT's figures are means over at least one")
    return 100 * math.fsum(map(_logistic, gains)) / len(gains)


def _logistic(value: float) -> float:
    # exp of a large positive number overflows; of a large negative one it is zero.
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))
