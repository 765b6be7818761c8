"""Which subnetworks a step trains."""

from __future__ import annotations

import random

from prunnet.train.recipe.method import MethodSpec
from prunnet.train.recipe.schedule import ScheduleSpec


def capacities_of_step(method: MethodSpec, schedule: ScheduleSpec, seed: int, step: int) -> tuple[float, ...]:
    """Return the subnetworks that a step trains, ascending.

    None while the dense encoder trains alone; else all, or a draw.
    """
    capacities, count = method.capacities, method.per_step
    alone = 1.0 if method.subnetworks == "after" else method.dense_share
    if step < alone * schedule.first_round or not capacities:
        return ()
    chance = random.Random(f"{seed}/{step}")
    if method.draw == "sandwich" and count is not None:
        lowest = capacities[0]
        if method.smallest_share < 1 and chance.random() >= method.smallest_share:
            lowest = max(lowest, round(lowest ** (1 - chance.random() / 2), 3))
        drawn = (round(lowest ** chance.random(), 3) for _ in range(count - 1))
        between = {max(lowest, capacity) for capacity in drawn}
        return tuple(sorted({lowest, *between} - {1.0}))
    if count is None or count >= len(capacities):
        return capacities
    return tuple(sorted(chance.sample(capacities, count)))
