"""A share of the probes, for devices on which all of them take too long."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime_py.bundle.probes import Probes, Recorded

PAIR = 2


def stratified(labels: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Choose probes so that as many classes as fit keep something to find.

    Classes take turns, two probes at a time; if not all of them fit, those that do are spread evenly. Classes of one
    probe come last: they only crowd the gallery.

    Args:
        labels: int64 [P].
        count: At least 2.

    Returns:
        int64 [min(count, P)], ascending: where the chosen probes are.
    """
    if count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    classes = [rows for rows in members if len(rows) >= PAIR]
    room = max(1, count // PAIR)
    if len(classes) > room:
        classes = [classes[at] for at in np.linspace(0, len(classes) - 1, room).round().astype(int)]
    taken: list[int] = []
    start = 0
    while len(taken) < count and any(start < len(rows) for rows in classes):
        for rows in classes:
            taken += rows[start : start + PAIR].tolist()
        start += PAIR
    others = np.setdiff1d(np.arange(len(labels)), taken)
    return np.sort(np.array([*taken, *others][:count], np.int64))


def share_of(probes: Probes, rows: npt.NDArray[np.int64]) -> Probes:
    """Return the probes at `rows`, with all the parity pictures and originals.

    Args:
        probes: All of them.
        rows: int64 [N], from `stratified`.
    """
    recorded = probes.recorded
    return Probes(
        images=probes.images[rows],
        labels=probes.labels[rows],
        dense=probes.dense[rows],
        subnetwork=probes.subnetwork[rows],
        parity=probes.parity,
        recorded=None if recorded is None else Recorded(recorded.probes[rows], recorded.parity),
        originals=probes.originals,
    )
