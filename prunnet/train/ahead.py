"""Batches that are made while a GPU is busy with the ones before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def made_ahead(make: Callable[[int], T], steps: range, threads: int) -> Generator[T]:
    """Yield `make(step)` of each step in turn.

    Args:
        make: A function of the step alone; several steps at a time.
        steps: The steps.
        threads: How many are made at a time; 0 makes each when it is asked for.

    Raises:
        Exception: What `make` raises, at its own step.
    """
    if not threads:
        yield from map(make, steps)
        return
    pool = ThreadPoolExecutor(threads, "batches", lambda: torch.set_flush_denormal(True))
    waiting: deque[Future[T]] = deque()
    try:
        for step in steps:
            waiting.append(pool.submit(make, step))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def threads_for(device: torch.device, processes: int) -> int:
    """Return how many batches are made at a time: none on a CPU, which trains meanwhile."""
    if device.type == "cpu":
        return 0
    return max(1, min(4, (os.cpu_count() or 1) // processes - 1))
