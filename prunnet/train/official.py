"""What follows a training on an official benchmark: probes from its test, and figures by its own protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from prunnet.data.official.task import RetrievalTask
from prunnet.data.pictures import Into
from prunnet.errors import DatasetError
from prunnet.evaluate.family import SeparateFamily
from prunnet.evaluate.official import measure_task
from prunnet.package.images import PackageImages
from prunnet.package.originals import original_files
from prunnet.package.package import EncoderPackage
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.arrays import Labels, Pixels
from runtime_py.framing import Framing

_PER_QUERY = 8


def official_probes(task: RetrievalTask, into: Into, calibration: Pixels, count: int) -> PackageImages:
    """Take queries of a benchmark with pictures that are right for them, until there are enough.

    Two queries that share a picture would be taken for different classes; only one of them is taken. Pictures that do
    not count for a query (in VeRi, those of its own camera) may show what it shows: they are shared, too, and no probes
    of it.

    Args:
        task: The benchmark.
        into: The encoder's framing, or (height, width) to stretch to.
        calibration: uint8 [C, H, W, 3].
        count: Probes wanted, at most.

    Raises:
        DatasetError: No query of this copy has anything to find, or a picture is not readable.
    """
    truth, same = task.truths[0], task.queries is task.gallery
    used: set[int] = set()
    images: list[Pixels] = []
    labels: list[Labels] = []
    asked: list[int] = []
    left = count
    for query in np.random.default_rng(1).permutation(truth.queries):
        relevant, ignored = truth.masks(np.array([query]))
        junk = np.zeros_like(relevant) if ignored is None else ignored
        right = np.flatnonzero(relevant[0] & ~junk[0])
        owned = {*np.flatnonzero(relevant[0] | junk[0]).tolist(), *([int(query)] if same else [])}
        if left < 2 or not len(right) or owned & used:
            continue
        used |= owned
        chosen = right[: min(_PER_QUERY, left - 1)]
        images += [task.queries.read([int(query)], into), task.gallery.read(chosen, into)]
        asked.append(int(query))
        labels.append(np.full(1 + len(chosen), len(labels), np.int64))
        left -= 1 + len(chosen)
    if not images:
        raise DatasetError(
            f"no query of this copy of {task.name} has a right picture; use the official lists"
        )
    originals = original_files(task.queries.open, asked, Framing.of(into).size)
    return PackageImages(np.concatenate(images), np.concatenate(labels), calibration, originals=originals)


def official_metrics(
    package: EncoderPackage,
    task: RetrievalTask,
    alone: PrunableEncoder | None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure a trained package at every trained capacity by the protocol of its benchmark.

    Args:
        package: The encoder.
        task: The benchmark.
        alone: The same network trained dense alone, its BatchNorm statistics final; None: no control was trained.
        say: Told before each part.

    Returns:
        The package's metrics: "official" as `TaskCurve.as_dict()`, and "control" with the tax of each figure, points.

    Raises:
        DatasetError: A picture is not readable.
    """
    say(f"measure by the protocol of {task.name}")
    curve = measure_task(package, task, package.capacities, say=say)
    metrics = {**package.metadata.metrics, "official": curve.as_dict()}
    if alone is not None:
        say("measure the network that was trained dense alone")
        figures = measure_task(SeparateFamily({1.0: alone}), task, (1.0,), say=say).points[0].cross
        joint = curve.points[-1].cross
        tax = {name: round(100 * (value - joint[name]), 2) for name, value in figures.items()}
        metrics["control"] = {"figures": figures, "tax": tax}
    return metrics
