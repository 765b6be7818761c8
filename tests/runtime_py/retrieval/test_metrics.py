from __future__ import annotations

import doctest
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from runtime_py.retrieval import metrics, ranks
from runtime_py.retrieval.ranks import precisions_at, ranking, ranks_of
from tests.oracles import retrieval as oracle

# Few distinct values, both signs and both zeros: ties are the rule, not the exception.
SCORES = st.sampled_from([-1.0, -0.5, -0.25, -0.0, 0.0, 1e-7, 0.25, 0.5, 1.0])


@st.composite
def problems(draw):
    queries, gallery = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    cells = queries * gallery

    def table(cell, dtype):
        flat = draw(st.lists(cell, min_size=cells, max_size=cells))
        return np.array(flat, dtype).reshape(queries, gallery)

    return table(SCORES, np.float32), table(st.booleans(), bool), table(st.booleans(), bool)


@given(problems())
@settings(max_examples=300, deadline=None)
def test_average_precision_and_recall_equal_the_oracle(problem):
    scores, relevant, ignored = problem
    precisions = metrics.average_precisions(scores, relevant, ignored)
    for query in range(len(scores)):
        expected = oracle.average_precision(scores[query], relevant[query], ignored[query])
        np.testing.assert_allclose(precisions[query], expected, rtol=1e-12, equal_nan=True)
        for k in (1, 2, 5, 20):
            hit = metrics.recalls_at_k(scores, relevant, k, ignored)[query]
            expected = oracle.recall_at_k(scores[query], relevant[query], k, ignored[query])
            np.testing.assert_equal(hit, expected)


@given(problems())
@settings(max_examples=200, deadline=None)
def test_ranking_and_top_k_equal_the_oracle(problem):
    scores, _, _ = problem
    expected = [oracle.ranked(row) for row in scores]
    assert metrics.ranking(scores).tolist() == expected
    for k in range(1, scores.shape[1] + 1):
        assert metrics.top_k(scores, k).tolist() == [row[:k] for row in expected]


@given(problems(), st.data())
@settings(max_examples=100, deadline=None)
def test_overlap_equals_the_oracle(problem, data):
    left, _, _ = problem
    right = data.draw(st.permutations(left.T.tolist()))
    right = np.array(right, np.float32).T
    k = data.draw(st.integers(1, left.shape[1]))
    shared = metrics.shared(metrics.top_k(left, k), metrics.top_k(right, k))
    assert shared.tolist() == [oracle.overlap(a, b, k) for a, b in zip(left, right, strict=True)]


def test_average_precision_equals_scikit_learn_where_there_are_no_ties():
    rng = np.random.default_rng(1)
    scores = rng.permuted(np.tile(np.linspace(-1, 1, 200, dtype=np.float32), (20, 1)), axis=1)
    relevant = rng.random(scores.shape) < 0.1
    expected = [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(metrics.average_precisions(scores, relevant), expected, rtol=1e-12)


def test_scores_below_zero_are_as_relevant_as_any():
    scores = np.array([[-0.1, -0.9]], np.float32)
    assert metrics.average_precisions(scores, np.array([[True, False]])).tolist() == [1.0]


def test_cosines_equal_the_oracle_and_ignore_length():
    rng = np.random.default_rng(2)
    queries, gallery = rng.standard_normal((5, 7)) * 300, rng.standard_normal((6, 7)) * 1e-3
    expected = [[oracle.cosine(q, g) for g in gallery] for q in queries]
    np.testing.assert_allclose(metrics.cosine_matrix(queries, gallery), expected, atol=1e-6)
    np.testing.assert_allclose(metrics.row_cosines(queries, gallery[:5]), np.diag(expected), atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_refused(bad):
    vectors = np.ones((3, 4), np.float32)
    vectors[1] = bad
    with pytest.raises(ValueError, match="row 1"):
        metrics.cosine_matrix(np.ones((1, 4)), vectors)


def test_a_nan_score_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        metrics.ranking(np.array([[0.0, math.nan]], np.float32))


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_outside_the_gallery_is_refused(k):
    with pytest.raises(ValueError, match=r"1\.\.3"):
        metrics.top_k(np.zeros((1, 3), np.float32), k)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("chunk", [1, 17, 10_000])
def test_evaluate_equals_the_oracle_in_chunks_of_any_size(monkeypatch, chunk, exclude_self):
    monkeypatch.setattr(metrics, "_CHUNK_SCORES", chunk)
    rng = np.random.default_rng(3)
    gallery = rng.standard_normal((30, 5)).astype(np.float32)
    gallery[7] = gallery[3]  # a tie
    labels = rng.integers(0, 12, 30)
    queries = gallery if exclude_self else rng.standard_normal((30, 5)).astype(np.float32)

    found = metrics.evaluate(queries, labels, gallery, labels, ks=(1, 3), exclude_self=exclude_self)

    scores = metrics.cosine_matrix(queries, gallery)
    precisions, hits = [], {1: [], 3: []}
    for i in range(30):
        ignored = [exclude_self and j == i for j in range(30)]
        relevant = [labels[j] == labels[i] and not ignored[j] for j in range(30)]
        precisions.append(oracle.average_precision(scores[i], relevant, ignored))
        for k in hits:
            hits[k].append(oracle.recall_at_k(scores[i], relevant, k, ignored))
    assert found.skipped == sum(map(math.isnan, precisions))
    assert found.queries == 30 - found.skipped
    assert found.mean_average_precision == pytest.approx(np.nanmean(precisions), rel=1e-9)
    assert found.recall == {k: pytest.approx(np.nanmean(rows), rel=1e-9) for k, rows in hits.items()}


def test_nearest_equals_the_full_ranking(monkeypatch):
    monkeypatch.setattr(metrics, "_CHUNK_SCORES", 50)
    rng = np.random.default_rng(4)
    queries, gallery = (rng.standard_normal((n, 6)).astype(np.float32) for n in (9, 20))
    expected = metrics.ranking(metrics.cosine_matrix(queries, gallery))[:, :4]
    np.testing.assert_array_equal(metrics.nearest(queries, gallery, 4), expected)


def test_no_query_with_a_positive_is_an_error_and_not_a_figure():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="no query"):
        metrics.evaluate(vectors, np.arange(3), vectors, np.arange(3), exclude_self=True)


def test_a_collapsed_encoder_does_not_score():
    same = np.ones((40, 4), np.float32)
    labels = np.repeat(np.arange(10), 4)
    assert metrics.evaluate(same, labels, same, labels, exclude_self=True).recall[1] <= 0.1


@pytest.mark.slow
def test_a_large_gallery_takes_seconds():
    rng = np.random.default_rng(5)
    queries, gallery = (rng.standard_normal((n, 64)).astype(np.float32) for n in (3_000, 20_000))
    query_labels, gallery_labels = rng.integers(0, 500, 3_000), rng.integers(0, 500, 20_000)
    start = time.process_time()
    found = metrics.evaluate(queries, query_labels, gallery, gallery_labels, ks=(1, 5))
    assert time.process_time() - start < 30
    assert found.mean_average_precision == pytest.approx(1 / 500, rel=0.5)


def test_the_examples_in_the_docstrings_hold():
    for module in (metrics, ranks):
        assert doctest.testmod(module).attempted > 0
        assert doctest.testmod(module).failed == 0


@given(problems())
@settings(max_examples=300, deadline=None)
def test_ranks_of_some_items_are_those_of_the_whole_ranking(problem):
    scores, relevant, ignored = problem
    scores = np.where(ignored, np.float32(-np.inf), scores)
    query, item = np.nonzero(relevant)
    order = ranking(scores)
    expected = [order[q].tolist().index(i) for q, i in zip(query, item, strict=True)]
    assert ranks_of(scores, query, item).tolist() == expected


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 64, 1000])
def test_ranks_in_galleries_of_any_width(width):
    rng = np.random.default_rng(width)
    for values in (width, 3):  # hardly any ties, then hardly anything else
        scores = (rng.integers(0, values * 4, (5, width)) / 4 - values / 2).astype(np.float32)
        query, item = np.nonzero(np.ones(scores.shape, bool))
        place = np.argsort(ranking(scores), axis=1)
        assert ranks_of(scores, query, item).tolist() == place[query, item].tolist()


def test_ranks_refuse_nan():
    with pytest.raises(ValueError, match="NaN"):
        ranks_of(np.array([[0.0, math.nan]], np.float32), np.array([0]), np.array([0]))


@given(problems())
@settings(max_examples=100, deadline=None)
def test_precisions_do_not_depend_on_the_order_within_a_query(problem):
    scores, relevant, _ = problem
    query, item = np.nonzero(relevant)
    rank = ranks_of(scores, query, item)
    shuffled = np.lexsort((-rank, query))
    found = precisions_at(query, rank[shuffled], len(scores))
    np.testing.assert_array_equal(found, metrics.average_precisions(scores, relevant))
