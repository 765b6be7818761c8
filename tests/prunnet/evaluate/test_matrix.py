from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prunnet.evaluate.leave_one_out
import prunnet.evaluate.matrix.measurement as room
from prunnet.data.source import RetrievalSet
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError, EvaluationError
from prunnet.evaluate.curve import measure_curve
from prunnet.evaluate.family import CutFamily
from prunnet.evaluate.matrix import Matrix, measure_matrix, measure_rows
from prunnet.evaluate.matrix.plot import save_plot
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from tests.oracles import matrix as oracle
from tests.prunnet.pruning.families import TableFamily, numbered

# Unit vectors whose products are exact, so that ties are real.
DIRECTIONS = np.array(
    [*np.eye(4), *-np.eye(4), *(np.array(s) / 2 for s in itertools.product((1, -1), repeat=4))], np.float32
)
CAPACITIES = (0.25, 0.5, 1.0)


@pytest.fixture(autouse=True)
def no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table has no operations to count; the real network's are counted in its own test."""
    real = room.flops
    monkeypatch.setattr(
        room, "flops", lambda module, size: real(module, size) if isinstance(module, Encoder) else 2
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_figure_is_the_oracles(data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prunnet.evaluate.leave_one_out, "_ROWS", data.draw(st.sampled_from([1, 3, 256])))
    count = data.draw(st.integers(2, 9))
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    labels[1] = labels[0]  # at least one query has something to find
    rows = st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=count, max_size=count)
    tables = {capacity: DIRECTIONS[data.draw(rows)] for capacity in CAPACITIES}
    share = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    found = measure_matrix(TableFamily(tables), numbered(labels), mixed_share=share)
    assert measure_rows(TableFamily(tables), numbered(labels), mixed_share=share) == found.rows

    def pair(queries: np.ndarray, gallery: np.ndarray) -> list:
        return oracle.every_query(queries.tolist(), gallery.tolist(), labels.tolist())

    def mean(values: list, which: int) -> float:
        return oracle.mean_points([v[which] for v in values if v is not None])

    pairs = {(q, g): pair(tables[q], tables[g]) for q in CAPACITIES for g in CAPACITIES}
    for (r, q), (c, g) in itertools.product(enumerate(CAPACITIES), repeat=2):
        values = pairs[q, g]
        assert found.map[r][c] == pytest.approx(mean(values, 0), abs=0.006)
        assert found.recall_at_1[r][c] == pytest.approx(mean(values, 1), abs=0.006)
        smaller = mean(pairs[min(q, g), min(q, g)], 0)
        if abs(mean(values, 0) - smaller) > 1e-9:
            assert found.compatible[r][c] == (mean(values, 0) > smaller)
    for row in found.rows:
        negative, positive = oracle.flips(pairs[1.0, 1.0], pairs[row.capacity, 1.0])
        assert (row.flips.negative, row.flips.positive) == pytest.approx((negative, positive), abs=0.006)
        drawn = room._draw(count, share)
        gallery = np.array(
            [tables[row.capacity if mine else 1.0][i] for i, mine in enumerate(drawn)], np.float32
        )
        assert drawn.sum() == round(share * count)
        assert row.mixed.own_queries == pytest.approx(mean(pair(tables[row.capacity], gallery), 0), abs=0.006)
        assert row.mixed.dense_queries == pytest.approx(mean(pair(tables[1.0], gallery), 0), abs=0.006)
    assert found.queries == sum(value is not None for value in pairs[1.0, 1.0])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=6, max_size=6))
def test_identical_encoders_are_compatible_and_flip_nothing(rows: list[int]) -> None:
    table = DIRECTIONS[rows]
    found = measure_matrix(TableFamily(dict.fromkeys(CAPACITIES, table)), numbered(np.arange(6) // 2))
    assert len({value for row in found.map for value in row}) == 1
    assert all(all(row) for row in found.compatible)
    for row in found.rows:
        assert row.flips.negative == row.flips.positive == 0
        assert row.mixed.own_queries == row.mixed.dense_queries == row.cross_map
        assert row.below_dense.mean == row.below_dense.low == row.below_dense.high == 0


def test_encoders_that_share_nothing_are_near_chance_and_said_to_be_incompatible() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 10)

    def space() -> np.ndarray:
        vectors = rng.normal(size=(20, 64))[labels] + 0.5 * rng.normal(size=(200, 64))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    found = measure_matrix(TableFamily({0.5: space(), 1.0: space()}), numbered(labels))
    assert found.map[0][0] > 90 and found.map[0][1] < 15
    assert found.compatible == ((True, False), (False, True))
    assert found.rows[0].flips.negative > 70
    assert "2 of 2 pairs are below" in found.table() and "!" in found.table()


@pytest.fixture(scope="module")
def measured(
    small_encoder: Encoder, glyph_images: torch.Tensor
) -> tuple[Matrix, PrunableEncoder, RetrievalSet]:
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule("channel"))
    benchmark = RetrievalSet(glyph_images.numpy(), np.arange(64) // 3)
    family = CutFamily(prunable, benchmark.images, (0.6, 0.3))
    return measure_matrix(family, benchmark), prunable, benchmark


def test_the_dense_column_is_the_curve(measured: tuple[Matrix, PrunableEncoder, RetrievalSet]) -> None:
    matrix, prunable, benchmark = measured
    curve = measure_curve(prunable, benchmark.images, benchmark, matrix.capacities)
    assert matrix.capacities == (0.3, 0.6, 1.0)
    for number, (row, point) in enumerate(zip(matrix.rows, curve.points, strict=True)):
        assert row.cross_map == matrix.map[number][-1] == point.cross_map
        assert row.self_map == matrix.map[number][number] == point.self_map
        assert row.cross_recall_at_1 == matrix.recall_at_1[number][-1] == point.cross_recall_at_1
        assert row.self_recall_at_1 == matrix.recall_at_1[number][number] == point.self_recall_at_1
        assert (row.below_dense, row.cross_minus_self) == (point.below_dense, point.cross_minus_self)
        assert (row.achieved, row.parameters) == (point.achieved, point.parameters)
        assert 2 * row.macs / 1e6 == pytest.approx(point.mflops, abs=1e-3)
    assert matrix.queries == curve.queries and curve.dense_map == matrix.map[-1][-1]


def test_masked_weights_do_not_count(small_encoder: Encoder, glyph_images: torch.Tensor) -> None:
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule("weight"))
    benchmark = RetrievalSet(glyph_images.numpy()[:12], np.arange(12) // 3)
    small, dense = measure_matrix(CutFamily(prunable, benchmark.images, (0.3,)), benchmark).rows
    assert small.parameters == dense.parameters and small.macs == dense.macs
    assert small.nonzero_parameters < 0.6 * dense.nonzero_parameters


def test_json_and_table_say_the_same(measured: tuple[Matrix, PrunableEncoder, RetrievalSet]) -> None:
    matrix, _, _ = measured
    again = json.loads(json.dumps(matrix.as_dict()))
    assert again["map"] == [list(row) for row in matrix.map]
    assert again["rows"][0]["mixed"]["own_queries"] == matrix.rows[0].mixed.own_queries
    text = matrix.table()
    for row in matrix.map:
        assert all(f"{value:.1f}" in text for value in row)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_plot(
    measured: tuple[Matrix, PrunableEncoder, RetrievalSet], tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"matrix.{ending}"
    save_plot(measured[0], path)
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(begin)
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "no scratch file is left"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("matrix.xyz", "ends in one of"),
        ("missing/matrix.png", "cannot be written"),
        ("a.png", "is a folder"),
    ],
)
def test_a_plot_that_can_not_be_written(
    measured: tuple[Matrix, PrunableEncoder, RetrievalSet], tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(EvaluationError, match=said):
        save_plot(measured[0], tmp_path / name)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    family = TableFamily({1.0: DIRECTIONS[:4]})
    with pytest.raises(EvaluationError, match="fraction"):
        measure_matrix(family, numbered(np.zeros(4, int)), mixed_share=share)


def test_a_family_without_its_dense_encoder() -> None:
    with pytest.raises(EvaluationError, match=r"ascend to 1\.0"):
        measure_matrix(TableFamily({0.5: DIRECTIONS[:4]}), numbered(np.zeros(4, int)))


@pytest.mark.parametrize("capacity", [0.0, 1.5, float("nan"), 1e-4])
def test_a_capacity_that_can_not_be_cut(
    small_encoder: Encoder, glyph_images: torch.Tensor, capacity: float
) -> None:
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule("channel"))
    with pytest.raises(EncoderError):
        CutFamily(prunable, glyph_images.numpy(), (capacity,))
