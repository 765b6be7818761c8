"""The probes that training chooses: from many classes, a few pictures of each, with something to find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.data.source import RetrievalSet
from prunnet.train.run import LEAST_OF_A_CLASS, MOST_OF_A_CLASS, PROBES, _about, _probes

CALIBRATION = np.zeros((2, 1, 1, 3), np.uint8)


def _drawn(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    probes = _probes(RetrievalSet(images, labels), CALIBRATION)
    rows = probes.images[:, 0, 0, 0].astype(int) + 256 * probes.images[:, 0, 0, 1].astype(int)
    assert np.array_equal(labels[rows], probes.labels) and len(set(rows.tolist())) == len(rows)
    return probes.labels, np.unique(probes.labels, return_counts=True)[1]


@pytest.mark.parametrize(
    ("sizes", "classes", "findable"),
    [
        ([400] * 10, 10, 80),
        ([330] * 3, 3, 24),
        ([6] * 20 + [2000] + [6] * 9, 30, 182),
        ([1] * 2000 + [2] * 5, 307, 10),
        ([1] * 3000 + [2] * 300, 156, 312),
        ([1] * 5000 + [2], 311, 2),
        ([312, 1], 2, 8),
    ],
)
def test_long_tails_and_large_classes(sizes: list[int], classes: int, findable: int) -> None:
    labels, counts = _drawn(sizes)
    assert len(counts) == classes and counts[counts > 1].sum() == findable and len(labels) <= PROBES


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=120).filter(lambda sizes: max(sizes) > 1))
def test_probes_spread_over_classes(sizes: list[int]) -> None:
    labels, counts = _drawn(sizes)
    pairs = sum(size > 1 for size in sizes)
    assert counts.max() <= MOST_OF_A_CLASS and len(labels) <= PROBES
    assert (counts > 1).sum() >= min(pairs, PROBES // MOST_OF_A_CLASS) - 1
    if pairs < len(sizes) and (counts > 1).sum() < pairs:
        assert all(sizes[label] > 1 for label in labels), "single pictures only fill up"
    again, _ = _drawn(sizes)
    assert np.array_equal(labels, again)
    if pairs * LEAST_OF_A_CLASS <= PROBES:
        assert (counts > 1).sum() >= pairs - 1, "every class that has something to find"


def test_few_probes_are_said() -> None:
    def text(sizes: list[int]) -> str:
        labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
        return _about(_probes(RetrievalSet(np.zeros((len(labels), 1, 1, 3), np.uint8), labels), CALIBRATION))

    assert "`not verified`" in text([400] * 3) and "`not verified`" in text([1] * 1000 + [2] * 12)
    assert text([20] * 40) == "probes: 280 test pictures; 280 have something to find, in 40 classes"
