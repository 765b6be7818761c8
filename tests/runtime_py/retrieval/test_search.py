"""Block-wise search against ranking every score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.retrieval import search as module
from runtime_py.retrieval.ranks import ranking
from runtime_py.retrieval.search import search


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


@pytest.mark.parametrize(("items", "width", "queries"), [(1025, 256, 50), (1100, 100, 2), (5140, 64, 50)])
def test_equal_rows_in_different_blocks_are_found_as_if_they_were_one(items, width, queries):
    """Rounding may order equal rows either way; it may not lose one to a worse item, or give one twice."""
    random = np.random.default_rng(0)
    row = random.integers(0, items // 12, items)
    gallery = random.standard_normal((items, width)).astype(np.float32)[row]
    q, k = random.standard_normal((queries, width)).astype(np.float32), 20
    exact = q.astype(np.float64) @ gallery.T.astype(np.float64)
    found = search(q, gallery, k)
    best = -np.sort(-exact, axis=1)[:, :k]
    np.testing.assert_allclose(np.take_along_axis(exact, found, axis=1), best, atol=1e-4)
    assert all(len(set(each)) == k for each in found.tolist())


def test_equal_exact_scores_in_different_blocks_rank_by_index(monkeypatch):
    monkeypatch.setattr(module, "_ITEMS", 32)
    row = np.random.default_rng(0).integers(0, 5, 300)
    found = search(np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32)[row], 9)
    for number, each in enumerate(found):
        assert each.tolist() == np.flatnonzero(row == number)[:9].tolist()


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_of_the_gallery(k):
    with pytest.raises(ValueError, match=r"allows 1\.\.3"):
        search(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), k)
