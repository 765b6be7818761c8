"""Classes that training does not see, to look at while it runs; they have nothing to do with the test set."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.errors import DatasetError
from runtime_py.arrays import Labels


@runtime_checkable
class DivisibleSource(Protocol):
    """A `TrainingSource` that can keep classes back."""

    def hold_out(self, share: float, pictures: int, seed: int) -> tuple[TrainingSource, RetrievalSet]:
        """Return a source of the other classes, and pictures of those kept back, without augmentation.

        Args:
            share: Of the classes, in (0, 1); see `held_out_rows`.
            pictures: Pictures kept to look at, at most.
            seed: Which classes; the same seed keeps back the same ones.

        Raises:
            DatasetError: Too few classes.
        """


def held_out_rows(labels: Labels, share: float, pictures: int, seed: int) -> tuple[Labels, Labels]:
    """Draw classes, and pictures of them.

    Only classes of two or more pictures are drawn: in the others there is nothing to find. Each gives about as many
    pictures, two at least.

    Args:
        labels: int64 [N].
        share: Of the classes, in (0, 1); two at least are drawn, and two at least stay.
        pictures: Drawn at most.
        seed: Of the draw.

    Returns:
        int64, ascending: the rows of all other classes; some rows of the drawn ones.

    Raises:
        DatasetError: There are too few classes.
    """
    known, counts = np.unique(labels, return_counts=True)
    random = np.random.default_rng([seed, 17])
    wanted = max(2, round(share * len(known)))
    drawn = random.permutation(known[counts > 1])[:wanted]
    if len(drawn) < 2 or len(known) - len(drawn) < 2:
        raise DatasetError(
            f"of {len(known):,} training classes, {int((counts > 1).sum()):,} with two pictures or more, none can be "
            "held out: two must go and two must stay; leave validation out of the recipe"
        )
    chosen, left = [], pictures
    for number, label in enumerate(drawn):
        few = max(2, left // (len(drawn) - number))
        if left < 2:
            break
        rows = random.permutation(np.flatnonzero(labels == label))[: min(few, left)]
        chosen.append(rows)
        left -= len(rows)
    return np.flatnonzero(~np.isin(labels, drawn)), np.sort(np.concatenate(chosen))
