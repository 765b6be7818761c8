"""What dropout and stochastic depth draw."""

from __future__ import annotations

import numpy as np
import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's own generators, from which layers draw, on the CPU and on each GPU.

    Args:
        seed: Seed of the run.
        step: 0-based step, counted through both rounds; a run resumed there draws the same.
        rank: Number of this process; each draws masks of its own for its share of the batch.
    """
    mixed = int(np.random.SeedSequence([seed, 17, step, rank]).generate_state(1, np.uint64)[0])
    torch.manual_seed(mixed & (2**63 - 1))
