"""The gallery through FAISS holds the project's rule of ranking."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prunnet.evaluate.protocol.index as room
from prunnet.data.official import LabelTruth, ListTruth, RetrievalTask, Rules
from prunnet.data.pictures import Pictures
from prunnet.errors import EvaluationError
from prunnet.evaluate.protocol import GalleryIndex, measure, per_query
from prunnet.evaluate.protocol.figures import score_figures
from runtime_py.retrieval.ranks import ranking
from tests.oracles import retrieval as oracle

# Unit vectors whose products are exact in any order of addition: equal cosines are equal bits, so ties are real.
DIRECTIONS = np.array(
    [*np.eye(4), *-np.eye(4), *(np.array(s) / 2 for s in itertools.product((1, -1), repeat=4))], np.float32
)
CUTOFFS = [
    Rules("first", cutoff=1),
    Rules("first", cutoff=3, recall_at=(1, 6)),
    Rules("first", cutoff=100),
    Rules(recall_at=(1, 2, 5)),
]


def _task(truth: LabelTruth | ListTruth, queries: int, gallery: int, rules: Rules) -> RetrievalTask:
    def names(count: int) -> Pictures:
        return Pictures(Path("nowhere"), tuple(f"{i}.jpg" for i in range(count)))

    return RetrievalTask("made", names(queries), names(gallery), (truth,), rules, None, ())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_exact_search_is_the_oracles_ranking(data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among few directions nearly everything is a tie, and the border runs through ties."""
    monkeypatch.setattr(room, "_SPARE", data.draw(st.sampled_from([0, 1, 32])))
    monkeypatch.setattr(room, "_CHUNK_PRODUCTS", data.draw(st.sampled_from([1, 50, 4_000_000])))
    count = data.draw(st.integers(1, 40))
    numbers = data.draw(st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=count, max_size=count))
    gallery = DIRECTIONS[numbers]
    queries = DIRECTIONS[data.draw(st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=1, max_size=5))]
    k = data.draw(st.integers(1, count + 2))
    found = GalleryIndex(gallery).search(queries, k)
    for query, items in zip(queries, found, strict=True):
        scores = [sum(a * b for a, b in zip(query.tolist(), g.tolist(), strict=True)) for g in gallery]
        assert items.tolist() == oracle.ranked(scores)[:k]


def test_a_tie_across_the_border_is_searched_again() -> None:
    """Two hundred copies share the first rank; FAISS alone returns any of them."""
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(1000, 16)).astype(np.float32)
    gallery[rng.permutation(1000)[:200]] = gallery[0] + 3
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    copies = np.flatnonzero((gallery == gallery[np.argmax(gallery @ np.ones(16))]).all(axis=1))
    assert len(copies) == 200
    found = GalleryIndex(gallery).search(gallery[copies[:3]], 50)
    assert found.tolist() == [copies[:50].tolist()] * 3


@pytest.mark.parametrize("dimension", [3, 64, 257])
def test_real_valued_embeddings_rank_as_by_float64(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    vectors = rng.normal(size=(700, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (vectors[:50].astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    np.testing.assert_array_equal(GalleryIndex(vectors).search(vectors[:50], 100), ranking(scores)[:, :100])


@settings(max_examples=120, deadline=None)
@given(data=st.data(), rules=st.sampled_from(CUTOFFS))
def test_figures_through_the_exact_index_are_those_of_all_scores(data: st.DataObject, rules: Rules) -> None:
    """With junk, the query itself left out, and queries that have nothing to find."""
    count = data.draw(st.integers(2, 30))
    cells = st.lists(st.integers(0, 3), min_size=count, max_size=count)
    labels, cameras = np.array(data.draw(cells)), np.array(data.draw(cells)) // 2
    same = data.draw(st.booleans())
    truth = LabelTruth(labels, labels, same, *((cameras, cameras) if data.draw(st.booleans()) else ()))
    chosen = st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=count, max_size=count)
    queries, gallery = DIRECTIONS[data.draw(chosen)], DIRECTIONS[data.draw(chosen)]
    found = per_query(_task(truth, count, count, rules), queries, gallery, index="Flat")["all"]
    wanted = score_figures(queries @ gallery.T, *truth.masks(truth.queries), rules)
    assert set(wanted) - set(found) <= {"mAP"} and found
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)


def test_figures_say_that_they_are_approximate_and_what_is_left_out() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(40), 10)
    vectors = rng.normal(size=(40, 32))[labels] + 0.4 * rng.normal(size=(400, 32))
    task = _task(LabelTruth(labels, labels, same_set=True), 400, 400, Rules(recall_at=(1, 10)))
    whole, flat = measure(task, vectors, vectors), measure(task, vectors, vectors, index="Flat")
    near = measure(task, vectors, vectors, index="IVF8,Flat:nprobe=8")
    rough = measure(task, vectors, vectors, index="HNSW8")
    assert whole.notes == () and set(whole.figures) == {"mAP", "Recall@1", "Recall@10"}
    assert flat.figures == {name: whole.figures[name] for name in ("Recall@1", "Recall@10")}
    assert len(flat.notes) == 1 and "mAP is left out" in flat.notes[0]
    assert "approximate" in near.notes[0] and "'IVF8,Flat:nprobe=8'" in near.notes[0]
    assert near.figures == pytest.approx(flat.figures, abs=0.01), "eight of eight lists are all of them"
    assert rough.figures["Recall@10"] > 0.9
    assert near.as_dict()["notes"] == near.notes


def test_an_approximate_index_that_finds_too_few() -> None:
    """One of eight lists holds fewer than a hundred items: what is missing counts as not found."""
    rng = np.random.default_rng(3)
    labels = np.zeros(320, np.int64)
    vectors = rng.normal(size=(320, 8))
    task = _task(LabelTruth(labels, labels, same_set=True), 320, 320, Rules("first", cutoff=300))
    assert measure(task, vectors, vectors).figures["mAP@300"] == 1
    assert 0.02 < measure(task, vectors, vectors, index="IVF8,Flat").figures["mAP@300"] < 0.5


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("Nonsense", "no index 'Nonsense' of 60 items of 8 dimensions: could not parse index string"),
        ("IVF100,Flat", "should be at least as large as number of clusters"),
        ("PQ3", "multiple of the number of subquantizers"),
        ("HNSW8:nprobe=4", "no index 'HNSW8:nprobe=4'"),
        ("", "e.g. Flat, HNSW32"),
    ],
)
def test_an_index_that_can_not_be_made(factory: str, said: str) -> None:
    gallery = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    with pytest.raises(EvaluationError, match=said):
        GalleryIndex(gallery, factory)


def test_a_benchmark_of_whole_rankings_takes_no_index() -> None:
    task = _task(LabelTruth(np.arange(3), np.arange(3)), 3, 3, Rules("trapezoid", precision_at=(1,)))
    with pytest.raises(EvaluationError, match="made: no index can be used"):
        measure(task, np.eye(3), np.eye(3), index="Flat")
