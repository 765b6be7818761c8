"""What chance would score on a set of probes, and whether the gates could tell it from an encoder.

Closed forms for queries that retrieve in random order, as an encoder of random weights does: relevance is the
labels', a probe never retrieves itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Doubles

MIN_FAILING = 30
"""Queries that a random encoder must be expected to lose. Fewer show too little: with n queries of which each is lost
with probability d, a drop stays within a tolerance of 0.05 with probability P(Bin(n, d) <= 0.05 n); 30 is the least n
at which a drop of three tolerances (0.15) goes unseen in fewer than 5 % of the cases."""

SIGMAS = 3.0
"""How lucky chance may be: standard deviations of its figure over the queries."""


@dataclass(frozen=True)
class Chance:
    """What random embeddings score, per query.

    Args:
        relevant: int64 [P], items that each probe should find.
        recall_at_1: float64 [P], probability that the first item found is relevant.
        average_precision: float64 [P], expectation; 0 where there is nothing to find.
    """

    relevant: npt.NDArray[np.int64]
    recall_at_1: Doubles
    average_precision: Doubles

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Queries that have something to find."""
        return self.relevant > 0

    def failing(self, dense_hits: Doubles) -> float:
        """Return how many queries random embeddings would be expected to lose.

        Args:
            dense_hits: float64 [P], whether the dense encoder's first item is relevant; any value where
                nothing is.
        """
        return float((np.nan_to_num(dense_hits) * (1 - self.recall_at_1))[self.counted].sum())

    def mean(self, expected: Doubles) -> float:
        """Return the mean of a figure over the queries that count; 0 if none does."""
        return float(expected[self.counted].mean()) if self.counted.any() else 0.0

    def luck(self, expected: Doubles) -> float:
        """Return `SIGMAS` standard deviations, at most, of the mean of figures in [0, 1] with this expectation."""
        mean = expected[self.counted]
        return float(SIGMAS * np.sqrt((mean * (1 - mean)).sum()) / max(len(mean), 1))


def chance_of(relevant: npt.NDArray[np.int64], items: npt.NDArray[np.int64]) -> Chance:
    """Compute what chance scores.

    With m of N items relevant, the first is relevant with probability m / N, and the average precision of a
    random order has the expectation (H + (m - 1) / (N - 1) (N - H)) / N, H the N-th harmonic number.

    Args:
        relevant: int64 [P], items that each probe should find.
        items: int64 [P], items that it is compared with.

    >>> chance = chance_of(np.array([1, 0]), np.array([3, 3]))     # one of three, and nothing
    >>> chance.recall_at_1.round(3).tolist(), chance.average_precision.round(3).tolist()
    ([0.333, 0.0], [0.611, 0.0])
    """
    count = np.maximum(items, 1)
    harmonic = np.cumsum(1 / np.arange(1, int(count.max(initial=1)) + 1))[count - 1]
    together = (relevant - 1) / np.maximum(count - 1, 1)
    precision = np.where(relevant > 0, (harmonic + together * (count - harmonic)) / count, 0.0)
    return Chance(relevant, relevant / count, precision)
