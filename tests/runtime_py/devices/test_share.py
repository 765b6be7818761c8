"""A share of the probes keeps classes that have something to find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.bundle.share import share_of, stratified
from tests.runtime_py import bundles


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(2, 70))
def test_the_rows_are_distinct_and_as_many_as_asked(labels, count):
    rows = stratified(np.array(labels), count)
    assert len(rows) == min(count, len(labels))
    assert (np.diff(rows) > 0).all() and set(rows) <= set(range(len(labels)))


@given(st.lists(st.integers(2, 6), min_size=1, max_size=12), st.integers(1, 40))
def test_every_chosen_class_has_two(sizes, half):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = labels[stratified(labels, 2 * half)]
    found, counts = np.unique(chosen, return_counts=True)
    assert len(found) == min(half, len(sizes))
    assert counts.min() >= 2


def test_classes_of_one_come_last():
    labels = np.array([0, 1, 2, 2, 3, 4, 4, 5])
    assert stratified(labels, 4).tolist() == [2, 3, 5, 6]
    assert {2, 3, 5, 6} < set(stratified(labels, 5).tolist())


def test_few_of_many_classes_are_spread():
    labels = np.repeat(np.arange(10), 3)
    assert set(labels[stratified(labels, 6)]) == {0, 4, 9}


@pytest.mark.parametrize("count", [6, 10_000])
def test_a_share_of_probes_keeps_rows_together(count):
    probes = bundles.probes()
    rows = stratified(probes.labels, count)
    share = share_of(probes, rows)
    assert len(share) == len(rows)
    for name in ("images", "labels", "dense", "subnetwork"):
        assert np.array_equal(getattr(share, name), getattr(probes, name)[rows])
    assert share.parity is not None and len(share.parity.images) == len(probes.parity.images)
