"""A bound on the time that trying a user's module may take, and which of its modules is running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from prunnet.errors import EncoderError


class OverdueError(EncoderError):
    """Trying an encoder takes too long; names the module that was at it."""


PATIENCE = 4.0
"""How much longer on the clock than at work: other processes may want the machine, and waiting is no work."""


@dataclass(frozen=True)
class Deadline:
    """How long something may work, on the thread that makes it.

    Attributes:
        seconds: Of the thread's own time; `PATIENCE` times as many on the clock.
        what: What must have ended, in words.
        remedy: What to do where it has not.
    """

    seconds: float
    what: str
    remedy: str
    _worked: float = field(default_factory=time.thread_time, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    @property
    def is_over(self) -> bool:
        """Say whether the time is up."""
        waited = time.monotonic() - self._began
        return time.thread_time() - self._worked > self.seconds or waited > PATIENCE * self.seconds

    def check(self, module: str, kind: str) -> None:
        """Raise OverdueError if the time is up while a module, of some kind, is worked on."""
        if self.is_over:
            raise OverdueError(
                f"{self.what} takes too long; time was up in the module {module or 'encoder'} ({kind}): {self.remedy}"
            )


@contextmanager
def running(encoder: nn.Module, deadline: Deadline) -> Iterator[list[tuple[str, str]]]:
    """Keep the modules that run, and raise OverdueError as soon as one starts or ends after the deadline.

    Returns:
        Name and kind of each module that runs, the innermost last; the encoder itself, "", is always there. After an
        error the module that failed is the last one.
    """
    stack = [("", type(encoder).__name__)]
    hooks = []

    def enter(entry: tuple[str, str]) -> None:
        stack.append(entry)
        deadline.check(*entry)

    def leave(entry: tuple[str, str]) -> None:
        deadline.check(*entry)
        stack.pop()

    for name, module in encoder.named_modules():
        entry = (name, type(module).__name__)
        hooks.append(module.register_forward_pre_hook(lambda *_, entry=entry: enter(entry)))
        hooks.append(module.register_forward_hook(lambda *_, entry=entry: leave(entry)))
    try:
        yield stack
    finally:
        for hook in hooks:
            hook.remove()
