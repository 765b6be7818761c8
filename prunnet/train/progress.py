"""Progress of a training run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """Shows steps, time left and losses on standard error.

    Args:
        steps: Steps of the whole run.
        first: Steps done before.
        quiet: Show nothing.
    """

    def __init__(self, steps: int, first: int, quiet: bool) -> None:
        self._steps, self._first, self._quiet = steps, first, quiet
        self._done, self._smooth = first, dict[str, float]()
        self._terminal = sys.stderr.isatty()
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._quiet and self._done > self._first:
            self._show("\n")

    def advance(self, losses: dict[str, float]) -> None:
        """Count one step."""
        self._done += 1
        for name, loss in losses.items():
            self._smooth[name] = 0.98 * self._smooth.get(name, loss) + 0.02 * loss
        pause = 0.5 if self._terminal else 30.0
        if not self._quiet and time.monotonic() - self._shown > pause:
            self._shown = time.monotonic()
            self._show("" if self._terminal else "\n")

    def _show(self, end: str) -> None:
        elapsed = time.monotonic() - self._began
        left = elapsed / (self._done - self._first) * (self._steps - self._done)
        losses = "  ".join(f"{name} {loss:.3f}" for name, loss in self._smooth.items())
        start = "\r\x1b[K" if self._terminal else ""
        minutes, seconds = divmod(round(left), 60)
        print(
            f"{start}step {self._done}/{self._steps}  {minutes}:{seconds:02d} left  loss {losses}",
            end=end,
            file=sys.stderr,
            flush=True,
        )
