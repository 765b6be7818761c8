"""Measuring an encoder by the protocol of an official benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prunnet.data.official.task import RetrievalTask
from prunnet.data.pictures import Pictures
from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.evaluate.family import Family
from prunnet.evaluate.protocol import check_index, embed_pictures, measure


@dataclass(frozen=True)
class TaskPoint:
    """One subnetwork on a benchmark; figures in [0, 1] by their official names."""

    capacity: float
    achieved: float
    cross: dict[str, float]
    """Its queries against the dense gallery."""
    own: dict[str, float]
    """Its queries against a gallery that it embedded itself."""


@dataclass(frozen=True)
class TaskCurve:
    """A benchmark by capacity."""

    task: str
    differences: tuple[str, ...]
    """Where this copy is not the official one."""
    notes: tuple[str, ...]
    """Whether the figures are approximate, and what is left out."""
    points: tuple[TaskPoint, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Return plain text: one block for each capacity, figures in points."""
        lines = [f"{self.task}: {text}" for text in (*self.differences, *self.notes)]
        for point in self.points:
            lines.append(f"capacity {point.capacity:g} (reached {point.achieved:.3f}): cross-test, self-test")
            lines += [
                f"  {name:16} {100 * value:6.2f}  {100 * point.own[name]:6.2f}"
                for name, value in point.cross.items()
            ]
        return "\n".join(lines)


def measure_task(
    family: Family,
    task: RetrievalTask,
    capacities: Sequence[float],
    *,
    index: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> TaskCurve:
    """Measure cross- and self-test of several capacities by a benchmark's own protocol.

    Args:
        family: Where the encoders come from.
        task: The benchmark.
        capacities: Asked capacities in (0, 1].
        index: FAISS index for the galleries; see `prunnet.evaluate.protocol.measure`.
        say: Told before each capacity.

    Raises:
        DatasetError: A picture is not readable, or no query has anything to find.
        EncoderError: No subnetwork has one of the capacities; nothing has been embedded.
        EvaluationError: FAISS makes no such index, or the benchmark has no figure with a cut-off; nothing has been
            embedded, unless the index cannot be trained on this gallery.
    """
    # A large gallery takes hours to embed: what can be refused is refused before.
    achieved = [family.achieved(capacity) for capacity in capacities]
    dense = family.subnetwork(1.0)
    check_index(task, dense.dimension, index)
    say("embed the dense gallery")
    gallery = _embedded(dense, task.gallery)
    points = []
    notes: tuple[str, ...] = ()
    for capacity, reached in zip(capacities, achieved, strict=True):
        say(f"capacity {capacity:g}")
        module = family.subnetwork(capacity)
        queries = _embedded(module, task.queries)
        own = queries if task.queries is task.gallery else _embedded(module, task.gallery)
        cross = measure(task, queries, gallery, index=index)
        notes = cross.notes
        points.append(
            TaskPoint(
                capacity=capacity,
                achieved=reached,
                cross=cross.figures,
                own=measure(task, queries, own, index=index).figures,
            )
        )
    return TaskCurve(
        task.name,
        tuple(f"{c.found:,} {c.what} here, {c.official:,} officially" for c in task.differences),
        notes,
        tuple(points),
    )


def _embedded(module: Encoder, pictures: Pictures) -> npt.NDArray[np.float32]:
    return embed_pictures(lambda images: embed(module, images), pictures, module.framing)
