"""What dropout and stochastic depth draw."""

from __future__ import annotations

import torch

from prunnet.data.source import mixed


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's own generators, from which layers draw, on the CPU and on each GPU.

    Args:
        seed: Seed of the run.
        step: 0-based step, counted through both rounds; a run resumed there draws the same.
        rank: Number of this process; each draws masks of its own for its share of the batch.
    """
    torch.manual_seed(mixed(seed, 19, step, rank))
