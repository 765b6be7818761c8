"""The log of a training run: `log.jsonl` for programs, event files for TensorBoard."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from runtime_py.disk.files import write_atomically

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

EVERY = 10
"""Steps that one point of the event files averages, at most."""


@dataclass(frozen=True)
class StepRecord:
    """What one step did.

    Attributes:
        losses: "dense" and each capacity -> loss.
        learning_rate: Of this step.
        gradient_norm: Length of the joint gradient before it was clipped.
        images: Images of the joined batch.
    """

    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float
    images: int


def events_can_be_written() -> bool:
    """Return whether the package `tensorboard` is installed."""
    return find_spec("tensorboard") is not None


class TrainingLog:
    """Mean losses of each epoch as JSON lines; losses, learning rate, gradient norm and images/s as events.

    What an earlier run logged after `first` steps is dropped, so a resumed run has every step once.

    Args:
        folder: Where to.
        first: Steps done before.
        writes: False in all but the first process of `torchrun`.
    """

    def __init__(self, folder: Path, first: int, writes: bool) -> None:
        self._file, self._writes, self._sums = folder / "log.jsonl", writes, dict[str, list[float]]()
        self._began = self._shown = time.monotonic()
        self._recent: list[StepRecord] = []
        self._events = _EventFile(folder, first) if writes and events_can_be_written() else None
        if writes and self._file.exists():
            lines = self._file.read_text().splitlines()
            kept = [line for line in lines if _step_of(line) <= first]
            write_atomically(self._file, "".join(line + "\n" for line in kept).encode())

    def add(self, step: int, record: StepRecord) -> None:
        """Note what the step that made `step` steps did."""
        for name, loss in record.losses.items():
            self._sums.setdefault(name, []).append(loss)
        self._recent.append(record)
        if len(self._recent) == EVERY:
            self._show(step)

    def close_epoch(self, step: int) -> None:
        """Write the epoch's line; to be called before its checkpoint, so that no checkpoint is without its log."""
        self._show(step)
        means = {name: round(_mean(values), 5) for name, values in self._sums.items()}
        seconds = round(time.monotonic() - self._began, 1)
        if self._writes:
            with self._file.open("a") as stream:
                stream.write(json.dumps({"step": step, "seconds": seconds, "losses": means}) + "\n")
        self._sums.clear()

    def add_validation(self, step: int, found: Mapping[str, Mapping[str, float]]) -> None:
        """Write what the state after `step` steps retrieves, as a line of its own."""
        if self._writes:
            with self._file.open("a") as stream:
                stream.write(json.dumps({"step": step, "validation": found}) + "\n")
        if self._events is not None:
            points = {f"validation/{n}/{what}": v for n, each in found.items() for what, v in each.items()}
            self._events.write(step, points)

    def _show(self, step: int) -> None:
        """Write one point of each curve: the mean since the last one."""
        now, recent = time.monotonic(), self._recent
        if self._events is not None and recent:
            losses: dict[str, list[float]] = {}
            for record in recent:
                for name, loss in record.losses.items():
                    losses.setdefault(f"loss/{name}", []).append(loss)
            points = {name: _mean(values) for name, values in losses.items()}
            points["learning_rate"] = _mean([r.learning_rate for r in recent])
            points["gradient_norm"] = _mean([r.gradient_norm for r in recent])
            points["images_per_second"] = sum(r.images for r in recent) / max(now - self._shown, 1e-9)
            self._events.write(step, points)
        self._shown = now
        self._recent = []


class _EventFile:
    """An event file of TensorBoard.

    tensorboard's own records and checksums, without its writer, which would import TensorFlow where that is installed.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # TensorBoard reads the files of a folder by name; the time makes a resumed run's file come last.
        name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        start = Event(session_log=SessionLog(status=SessionLog.START), step=first + 1)
        # The start makes readers forget what older files say of this step and later ones.
        self._append([Event(file_version="brain.Event:2"), start])

    def write(self, step: int, points: dict[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in points.items()]
        self._append([Event(step=step, summary=Summary(value=values))])

    def _append(self, events: list[Event]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._path.open("ab") as stream:
            for event in events:
                event.wall_time = time.time()
                RecordWriter(stream).write(event.SerializeToString())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _step_of(line: str) -> float:
    """Return the step of a log line; a line that a kill cut short comes after everything."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
