"""What training and evaluation need of pictures: sources of batches, and sets to retrieve from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from prunnet.errors import DatasetError
from runtime_py.arrays import Labels, Pixels


@dataclass(frozen=True)
class RetrievalSet:
    """Images to retrieve: every image is a query against all the others.

    Attributes:
        images: uint8 [N, H, W, 3], RGB.
        labels: int64 [N]; relevant is what has the query's label.
        notes: What is to be said of them before they are measured, a line each.
        open_original: Opens a picture by its number in a larger size, uint8 [H, W, 3]; None: only these are known.

    Raises:
        DatasetError: No two images share a label.
    """

    images: Pixels
    labels: Labels
    notes: tuple[str, ...] = ()
    open_original: Callable[[int], Pixels] | None = None

    def __post_init__(self) -> None:
        if len(np.unique(self.labels)) == len(self.labels):
            raise DatasetError(
                f"no class has two pictures among the {len(self.labels)} to retrieve, so no query has anything to "
                "find; give each test class at least two"
            )


class TrainingSource(Protocol):
    """Training images. Everything is a function of the seed and the step, so a resumed run sees what it would have."""

    classes: int
    """Number of classes."""
    size: int
    """Number of items; an epoch shows each once."""

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return (float32 [count, 3, H, W] raw RGB, int64 [count] labels) of one step, augmented."""

    def calibration(self, count: int) -> Pixels:
        """Return uint8 [count, H, W, 3], training images without augmentation, always the same."""


def rows_of_step(size: int, seed: int, step: int, count: int) -> Labels:
    """Return the item numbers of one step: each epoch is one permutation; a last short batch is left out.

    Args:
        size: Number of items.
        seed: Seed of the run.
        step: 0-based step.
        count: Items in a batch.
    """
    count = min(count, size)
    epoch, batch = divmod(step, size // count)
    order = np.random.default_rng([seed, 11, epoch]).permutation(size)
    return order[batch * count : (batch + 1) * count]


def mixed(*numbers: int) -> int:
    """Return one seed for torch of several numbers, in [0, 2**63): the run's, what it is for, the step, ..."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) & (2**63 - 1)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the source of a step's random choices."""
    return torch.Generator().manual_seed(mixed(seed, 13, step))
