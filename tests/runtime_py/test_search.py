"""Block-wise search against ranking every score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py import search as module
from runtime_py.ranks import ranking
from runtime_py.search import search


def grid(seed: int, rows: int, levels: int) -> np.ndarray:
    """Small whole numbers: products are exact, and many are equal."""
    return np.random.default_rng(seed).integers(-levels, levels + 1, (rows, 4)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000), queries=st.integers(0, 9), items=st.integers(1, 120),
    levels=st.integers(1, 5), k=st.integers(1, 12), block=st.integers(4, 40),
)  # fmt: skip
def test_it_is_the_top_of_the_whole_ranking(seed, queries, items, levels, k, block):
    q, gallery, k = grid(seed, queries, levels), grid(seed + 1, items, levels), min(k, items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ITEMS", block)
        patch.setattr(module, "_QUERIES", 4)
        found = search(q, gallery, k)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, ranking(q @ gallery.T)[:, :k])


@pytest.mark.parametrize("direction", [1, -1])
def test_a_gallery_in_order_of_its_scores(direction, monkeypatch):
    monkeypatch.setattr(module, "_ITEMS", 32)
    line = np.linspace(-1, 1, 1000, dtype=np.float32)[::direction, None]
    queries = np.array([[1], [-1], [0]], np.float32)
    np.testing.assert_array_equal(search(queries, line, 7), ranking(queries @ line.T)[:, :7])


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_of_the_gallery(k):
    with pytest.raises(ValueError, match=r"allows 1\.\.3"):
        search(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), k)
