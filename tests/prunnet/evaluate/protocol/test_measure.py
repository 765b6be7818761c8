from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prunnet.evaluate.protocol.measurement as room
from prunnet.data.official import Count, LabelTruth, ListTruth, RetrievalTask, Rules, open_task
from prunnet.data.pictures import Pictures
from prunnet.errors import DatasetError
from prunnet.evaluate.protocol import ProtocolResult, embed_pictures, measure, per_query
from tests.oracles import protocols as oracle
from tests.prunnet.data import trees

# Unit vectors whose products are exact in any order of addition: equal cosines are equal bits, so ties are real.
DIRECTIONS = np.array(
    [*np.eye(4), *-np.eye(4), *(np.array(signs) / 2 for signs in itertools.product((1, -1), repeat=4))],
    np.float32,
)


def _embeddings(data: st.DataObject, count: int) -> np.ndarray:
    rows = data.draw(st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=count, max_size=count))
    lengths = data.draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=count, max_size=count))
    return DIRECTIONS[rows] * np.array(lengths, np.float32)[:, None]


def _cosines(query: np.ndarray, gallery: np.ndarray) -> list[float]:
    lengths = [math.hypot(*query.tolist()) * math.hypot(*item.tolist()) for item in gallery]
    products = [sum(a * b for a, b in zip(query.tolist(), item.tolist(), strict=True)) for item in gallery]
    return [product / length for product, length in zip(products, lengths, strict=True)]


# What is right in tests/prunnet/data/trees.py, by hand: split -> query -> (right, junk).
ANSWERS: dict[str, dict[str, dict[int, tuple[set[int], set[int]]]]] = {
    "cub200": {"all": {0: ({1}, {0}), 1: ({0}, {1}), 2: (set(), {2}), 3: (set(), {3})}},
    "gldv2": {
        "private": {0: ({1, 3}, set()), 2: (set(), set()), 3: ({5}, set())},
        "public": {1: ({0}, set())},
    },
    "inshop": {"all": {0: ({0}, set()), 1: ({2}, set())}},
    "roxford5k": {
        "E": {0: ({0}, {1, 2, 3}), 1: ({4}, set())},
        "M": {0: ({0, 2, 3}, {1}), 1: ({4}, set())},
        "H": {0: ({2, 3}, {0, 1}), 1: (set(), {4})},
    },
    "sop": {"all": {0: ({2}, {0}), 1: (set(), {1}), 2: ({0}, {2}), 3: (set(), {3})}},
    "veri776": {"all": {0: ({2}, {0, 1}), 1: (set(), {3})}},
}
ANSWERS["rparis6k"] = ANSWERS["roxford5k"]
RECALLS = {
    "cub200": (1, 2, 4, 8),
    "gldv2": (),
    "inshop": (1, 2, 4, 8, 10, 20, 30, 40, 50),
    "roxford5k": (),
    "rparis6k": (),
    "sop": (1, 10, 100, 1000),
    "veri776": (1, 5, 10),
}


def _expected(name: str, queries: np.ndarray, gallery: np.ndarray) -> ProtocolResult:
    figures: dict[str, float] = {}
    counted, skipped = {}, {}
    for split, answers in ANSWERS[name].items():
        found: dict[str, list[float | None]] = {}
        for query, (right, junk) in answers.items():
            order = oracle.ranked(_cosines(queries[query], gallery), junk)
            if name == "gldv2":
                values = {"mAP@100": lambda o=order, r=right: oracle.first_precision(o, r, 100)}
            elif name in ("roxford5k", "rparis6k"):
                values = {"mAP": lambda o=order, r=right: oracle.trapezoid_precision(o, r)}
                values |= {
                    f"mP@{k}": lambda k=k, o=order, r=right: oracle.precision(o, r, k) for k in (1, 5, 10)
                }
            else:
                values = {"mAP": lambda o=order, r=right: oracle.step_precision(o, r)}
            values |= {
                f"Recall@{k}": lambda k=k, o=order, r=right: oracle.recall(o, r, k) for k in RECALLS[name]
            }
            for figure, value in values.items():
                found.setdefault(figure, []).append(value() if right else None)
        for figure, each in found.items():
            key = figure if split == "all" else f"{figure} {split}"
            figures[key], counted[split], skipped[split] = oracle.mean(each)
    return ProtocolResult(name, figures, counted, skipped)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RetrievalTask]:
    return {name: open_task(name, make(tmp_path_factory.mktemp(name))) for name, make in trees.TREES.items()}


@pytest.mark.parametrize("name", trees.TREES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_figures_are_those_of_the_oracle(
    name: str, tasks: dict[str, RetrievalTask], data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One query at a time, two, or all: the figures cannot depend on it.
    monkeypatch.setattr(room, "_CHUNK_SCORES", data.draw(st.sampled_from([1, 10, 4_000_000])))
    monkeypatch.setattr(room, "_CHUNK_ROWS", data.draw(st.sampled_from([1, 3, 65_536])))
    task = tasks[name]
    queries, gallery = _embeddings(data, len(task.queries)), _embeddings(data, len(task.gallery))
    result = measure(task, queries, gallery)
    wanted = _expected(name, queries, gallery)
    assert (result.task, result.queries, result.skipped) == (name, wanted.queries, wanted.skipped)
    assert result.figures == pytest.approx(wanted.figures, abs=1e-12)
    assert list(result.figures) == list(wanted.figures)
    assert all(0 <= value <= 1 for value in result.figures.values())


STEPS = Rules()


def _task(truth: LabelTruth | ListTruth, queries: int, gallery: int, rules: Rules = STEPS) -> RetrievalTask:
    def names(count: int) -> Pictures:
        return Pictures(Path("nowhere"), tuple(f"{i}.jpg" for i in range(count)))

    counts = (Count("queries", 1, queries),)
    return RetrievalTask("made", names(queries), names(gallery), (truth,), rules, None, counts)


def test_the_perfect_and_the_opposite_encoder() -> None:
    labels = np.arange(3)
    task = _task(LabelTruth(labels, labels), 3, 3, Rules(recall_at=(1, 2)))
    vectors = np.array([[1, 0], [-0.5, 0.8], [-0.5, -0.8]], np.float32)
    assert measure(task, vectors, vectors).figures == {"mAP": 1.0, "Recall@1": 1.0, "Recall@2": 1.0}
    opposite = measure(task, -vectors, vectors)
    assert opposite.figures["mAP"] == pytest.approx(1 / 3) and opposite.figures["Recall@2"] == 0


def test_a_single_item_that_is_its_own_query_has_no_figure() -> None:
    task = _task(LabelTruth(np.zeros(1, np.int64), np.zeros(1, np.int64), same_set=True), 1, 1)
    with pytest.raises(DatasetError, match="made: no query of 'all' has a relevant item"):
        measure(task, np.ones((1, 2)), np.ones((1, 2)))
    assert np.isnan(per_query(task, np.ones((1, 2)), np.ones((1, 2)))["all"]["mAP"]).all()


def test_values_of_each_query_come_in_the_order_of_the_truth(tasks: dict[str, RetrievalTask]) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 6))
    found = per_query(tasks["gldv2"], vectors[:4], vectors[4:])
    assert [len(values["mAP@100"]) for values in found.values()] == [3, 1]
    assert np.isnan(found["private"]["mAP@100"]).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("queries", "gallery", "said"),
    [
        (np.ones((3, 2)), np.ones((3, 2)), r"query embeddings of made are \[3, 2\]; expected \[2, D\]"),
        (np.ones((2, 2)), np.ones((2, 2)), r"gallery embeddings of made are \[2, 2\]; expected \[3, D\]"),
        (np.ones(2), np.ones((3, 2)), r"are \[2\]; expected"),
        (np.ones((2, 2)), np.ones((3, 4)), "queries have 2 dimensions, the gallery 4"),
        (np.ones((2, 2)), np.array([[1, 0], [0, 0], [0, 1.0]]), "gallery embedding 1 has no direction"),
        (np.array([[1, 0], [np.nan, 1]]), np.ones((3, 2)), "query embedding 1 has no direction"),
    ],
)
def test_embeddings_that_do_not_fit(queries: np.ndarray, gallery: np.ndarray, said: str) -> None:
    task = _task(LabelTruth(np.arange(2), np.arange(3)), 2, 3)
    with pytest.raises(ValueError, match=said):
        measure(task, queries, gallery)


def test_memory_does_not_grow_with_the_queries() -> None:
    import tracemalloc

    queries, gallery = 4000, 5000  # 80 MB of scores alone
    labels = np.arange(gallery) % 500
    task = _task(LabelTruth(labels[:queries], labels), queries, gallery, Rules("first", cutoff=10))
    vectors = np.random.default_rng(1).normal(size=(gallery, 4)).astype(np.float32)
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_CHUNK_SCORES", 100_000)
        measure(task, vectors[:queries], vectors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6


def test_pictures_are_embedded_in_order_cropped_and_resized(tasks: dict[str, RetrievalTask]) -> None:
    pictures = tasks["roxford5k"].queries
    told: list[tuple[int, int]] = []

    def embed(images: np.ndarray) -> np.ndarray:
        assert images.shape[1:] == (3, 5, 3) and len(images) == 1
        return images.reshape(len(images), -1).astype(np.float32)

    found = embed_pictures(embed, pictures, (3, 5), count=1, progress=lambda *where: told.append(where))
    np.testing.assert_array_equal(found, pictures.read([0, 1], (3, 5)).reshape(2, -1))
    assert told == [(1, 2), (2, 2)]
