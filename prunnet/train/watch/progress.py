"""Progress of a training run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

_SMOOTH = 0.02
"""Share of the newest step in the running means."""


@dataclass
class Round:
    """Steps that cost about the same.

    Attributes:
        name: What is trained in them.
        steps: Their number.
        seconds: Of one step, as it was estimated or measured; None: not known yet.
    """

    name: str
    steps: int
    seconds: float | None = None


class Progress:
    """Shows the round, steps, images per second, time left and losses on standard error.

    Args:
        rounds: Of the whole run, in their order; a later one costs what it is estimated at until it has begun.
        first: Steps done before.
        images: In one step.
        quiet: Show nothing.
    """

    def __init__(self, rounds: Sequence[Round], first: int, images: int, quiet: bool) -> None:
        self._rounds, self._first, self._images, self._quiet = [*rounds], first, images, quiet
        self._steps = sum(each.steps for each in rounds)
        self._done, self._losses = first, dict[str, float]()
        self._measured = [0] * len(self._rounds)
        self._validated = ""
        self._terminal = sys.stderr.isatty()
        self._last = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._quiet and self._done > self._first:
            self._show("\n")

    def advance(self, losses: dict[str, float]) -> None:
        """Count one step."""
        now = time.monotonic()
        number, _ = self._at(self._done)
        self._note(number, now - self._last)
        self._last = now
        self._done += 1
        for name, loss in losses.items():
            self._losses[name] = (1 - _SMOOTH) * self._losses.get(name, loss) + _SMOOTH * loss
        pause = 0.5 if self._terminal else 30.0
        if not self._quiet and now - self._shown > pause:
            self._shown = now
            self._show("" if self._terminal else "\n")

    def note_validation(self, text: str) -> None:
        """Show what was measured last, from now on."""
        self._validated = f"  held-out classes at step {self._done}: {text}"

    def leave_out(self) -> None:
        """Count the time since the last step for no round: a checkpoint was written, say."""
        self._last = time.monotonic()

    def seconds_left(self) -> float:
        """Return the time that is left of all rounds, each by the cost of its own steps."""
        here, done = self._at(self._done)
        known = [each.seconds for each in self._rounds if each.seconds is not None]
        unknown = known[-1] if known else 0.0
        left = 0.0
        for number, each in enumerate(self._rounds):
            steps = 0 if number < here else each.steps - done if number == here else each.steps
            left += steps * (unknown if each.seconds is None else each.seconds)
        return left

    def _note(self, number: int, seconds: float) -> None:
        """Take a step into the mean of its round; the first ones count in full, as an estimate does not."""
        self._measured[number] += 1
        share = max(_SMOOTH, 1 / self._measured[number])
        before = self._rounds[number].seconds
        self._rounds[number].seconds = seconds if before is None else before + share * (seconds - before)

    def _at(self, step: int) -> tuple[int, int]:
        """Return the round of a step, and how many of its steps come before."""
        for number, each in enumerate(self._rounds):
            if step < each.steps or number == len(self._rounds) - 1:
                return number, step
            step -= each.steps
        raise AssertionError("a run has a round")

    def _show(self, end: str) -> None:
        number, done = self._at(max(self._done - 1, 0))
        each, several = self._rounds[number], len(self._rounds) > 1
        where = (
            f"round {number + 1}/{len(self._rounds)} ({each.name}) step {done + 1}/{each.steps}  "
            if several
            else ""
        )
        speed = self._images / each.seconds if each.seconds else 0.0
        losses = "  ".join(f"{name} {loss:.3f}" for name, loss in self._losses.items())
        start = "\r\x1b[K" if self._terminal else ""
        text = (
            f"{start}{where}step {self._done}/{self._steps}{' in all' if several else ''}  {speed:.3g} images/s  "
            f"{_clock(self.seconds_left())} left  loss {losses}{self._validated}"
        )
        print(text, end=end, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
