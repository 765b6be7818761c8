"""Threads of a training process that sleep while they wait for one another."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

SPINS = "1000"
"""Turns of an empty loop before a waiting thread sleeps: some microseconds, about what waking it takes."""
_SAID_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Tell OpenMP, before torch loads it, that a thread which waits gives its processor away.

    GNU's OpenMP, which torch brings for Linux, lets threads that wait spin for milliseconds, thousands of times in a
    step. Where another process wants the same processors, the thread that is waited for does not run meanwhile: two
    threads took 30 times as long as one. docs/research/training.md has the figures.

    Args:
        environment: Of the process; what a user has said about it stays.

    Returns:
        Whether it was told; it is too late once torch is loaded.
    """
    if "torch" in sys.modules or any(name in environment for name in _SAID_BY_USER):
        return False
    environment["GOMP_SPINCOUNT"] = SPINS
    return True
