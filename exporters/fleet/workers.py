"""Fresh processes that export, and end with the command whatever ends it.

Fresh, because neither torch's threads nor the toolchains' survive a fork.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from typing import Any

from runtime_py.children import follow, kill_group

PATIENCE_SECONDS = 5.0
"""A worker in the middle of a converter's C++ hears of a signal late; then it is killed."""


@contextmanager
def worker_pool(
    count: int, start: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes; if the block raises, they and their children are gone when it has.

    Args:
        count: Processes.
        start: Called once in each, before its first job.
        arguments: For `start`.

    Raises:
        OSError, ImportError, NotImplementedError: This system has no shared memory for the locks of a pool.
    """
    before = active_children()
    pool = ProcessPoolExecutor(count, get_context("spawn"), _open, (os.getpid(), start, arguments))
    try:
        yield pool
    except BaseException:
        _stop([child for child in active_children() if child not in before])
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def why_no_pool() -> str | None:
    """Return why this system can have no pool, in words; None if it can.

    A pool's queues rest on semaphores, which Linux keeps in /dev/shm: it may be read-only or absent.
    """
    try:
        get_context("spawn").Lock()
    except (OSError, ImportError, NotImplementedError) as error:
        return str(error)
    return None


def _open(parent: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    follow(parent)
    start(*arguments)


def _stop(children: list[BaseProcess]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for child in children:
        child.join(max(deadline - time.monotonic(), 0))
        if child.is_alive() and child.pid is not None:
            kill_group(child.pid)
            child.join(PATIENCE_SECONDS)
