"""Host latency side by side: interleaved rounds on one core, so that a busy machine slows all alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

ROUND_SECONDS = 0.1
WARM_UP_CALLS = 3


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call over several rounds."""

    median_ms: float
    """Median over the rounds of each round's median."""
    low_ms: float
    """The fastest round's median."""
    high_ms: float
    """The slowest round's median."""
    calls: int
    """Calls in all."""


@contextmanager
def one_core() -> Iterator[bool]:
    """Keep this process, and all threads that it starts meanwhile, on one core.

    A runtime that is opened inside starts its threads there, so that it computes with one core at most.

    Yields:
        Whether the system can do it (Linux); elsewhere the runtimes take as many threads as they like.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield True
    finally:
        os.sched_setaffinity(0, allowed)


def interleave(calls: Sequence[Callable[[], object]], rounds: int) -> tuple[Timing, ...]:
    """Time calls in turns: round 1 of each, round 2 of each, and so on.

    Args:
        calls: What to time; each is warmed up first.
        rounds: At least 1.

    Returns:
        A timing for each call, in their order.
    """
    counts = [_calls_per_round(call) for call in calls]
    medians: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, count, found in zip(calls, counts, medians, strict=True):
            found.append(statistics.median(_milliseconds(call) for _ in range(count)))
    return tuple(
        Timing(statistics.median(found), min(found), max(found), count * rounds)
        for found, count in zip(medians, counts, strict=True)
    )


def _calls_per_round(call: Callable[[], object]) -> int:
    fastest = min(_milliseconds(call) for _ in range(WARM_UP_CALLS))
    return max(1, min(1000, round(ROUND_SECONDS * 1000 / max(fastest, 1e-3))))


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000
