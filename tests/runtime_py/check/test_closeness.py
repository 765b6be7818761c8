"""Closeness to the dense embeddings needs no labels: chance is 0.5, the dense encoder itself 1."""

from __future__ import annotations

import numpy as np
import pytest

from runtime_py.check.closeness import closeness, own_picture
from runtime_py.retrieval.metrics import cosine_matrix
from tests.runtime_py.check.test_chance import of_classes, unit


def close(queries, dense):
    alive = np.ones(len(dense), bool)
    return closeness(cosine_matrix(queries, dense), cosine_matrix(dense, dense), alive)


def oracle(queries, dense):
    """Pair by pair."""
    won = total = 0.0
    for i in range(len(dense)):
        for j in range(len(dense)):
            if i != j:
                weight = max(0.0, 1 - float(dense[i].astype(float) @ dense[j]))
                own, other = float(queries[i] @ dense[i]), float(queries[i] @ dense[j])
                won += weight * (0.5 if abs(own - other) <= 1e-6 else own > other)
                total += weight
    return won / total


@pytest.mark.parametrize("sizes", [[40], [30, 10], [4] * 15])
def test_it_equals_the_oracle(sizes):
    dense = of_classes(sizes).dense
    noisy = unit(dense + 0.2 * np.random.default_rng(1).standard_normal(dense.shape))
    assert close(noisy, dense) == pytest.approx(oracle(noisy, dense), abs=1e-5)


@pytest.mark.parametrize("sizes", [[312], [156, 156], [300, 12], [8] * 39])
@pytest.mark.parametrize("spread", [0.01, 0.4])
def test_honest_is_near_one_and_chance_near_a_half_whatever_the_classes(sizes, spread):
    """A spread of 0.01: classes that have collapsed to a point, where nobody tells two pictures apart."""
    probes = of_classes(sizes, spread=spread)
    honest = unit(probes.dense + 0.1 * np.std(probes.dense - probes.dense.mean(0)) * np.eye(len(probes), 32))
    assert close(honest, probes.dense) > 0.98
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert close(unit(rng.standard_normal(probes.dense.shape)), probes.dense) < 0.7
    assert close(np.repeat(honest[:1], len(honest), 0), probes.dense) < 0.7
    assert close(-honest, probes.dense) < 0.05


def test_an_encoder_that_embeds_all_alike_shows_nothing():
    alike = np.repeat(np.eye(1, 8, dtype=np.float32), 20, axis=0)
    assert close(alike, alike) == 0.5


def test_embeddings_without_a_direction_find_nothing():
    dense = of_classes([4] * 15).dense
    scores = cosine_matrix(dense, dense)
    assert closeness(scores, scores, np.zeros(len(dense), bool)) == 0


def own(queries, dense):
    alive = np.ones(len(dense), bool)
    return own_picture(
        cosine_matrix(queries, dense), cosine_matrix(dense, dense), np.eye(len(dense), dtype=bool), alive
    )


@pytest.mark.parametrize("spread", [0.2, 0.4])
def test_a_row_taken_for_its_neighbour_of_the_same_class_loses(spread):
    dense = of_classes([16] * 20, spread=spread).dense
    rng = np.random.default_rng(0)
    honest = unit(dense + 0.03 * rng.standard_normal(dense.shape))
    assert own(honest, dense) > 0.8
    assert own(honest, np.roll(dense, 1, axis=0)) < 0.45
    assert close(honest, np.roll(dense, 1, axis=0)) > 0.8  # which is why there are two figures


def test_a_coin_is_no_alarm_for_classes_that_collapsed():
    dense = of_classes([16] * 20, spread=0.001).dense
    for seed in range(5):
        honest = unit(dense + 0.1 * np.random.default_rng(seed).standard_normal(dense.shape))
        assert own(honest, dense) > 0.45


def test_it_is_a_half_where_nothing_can_be_told_apart():
    alike = np.repeat(np.eye(1, 8, dtype=np.float32), 20, axis=0)
    scores = cosine_matrix(alike, alike)
    assert own_picture(scores, scores, np.ones((20, 20), bool), np.ones(20, bool)) == 0.5
