"""What chance scores, and that probes on which it would pass verify nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.chance import MIN_FAILING, chance_of
from runtime_py.check.drift import measure
from tests.oracles import retrieval as oracle


def of_labels(labels):
    labels = np.asarray(labels)
    relevant = (labels[:, None] == labels).sum(axis=1) - 1
    return chance_of(relevant, np.full(len(labels), len(labels) - 1))


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 0, 0, 1, 1, 2], [0] * 5, [3, 3]])
def test_the_closed_forms_equal_the_mean_over_random_orders(labels):
    labels = np.array(labels)
    rng = np.random.default_rng(0)
    chance = of_labels(labels)
    rounds = 4000
    hits, precisions = np.zeros(len(labels)), np.zeros(len(labels))
    for _ in range(rounds):
        scores = rng.standard_normal(len(labels)).tolist()
        for i, label in enumerate(labels):
            itself = [j == i for j in range(len(labels))]
            relevant = [other == label and j != i for j, other in enumerate(labels)]
            if any(relevant):
                hits[i] += oracle.recall_at_k(scores, relevant, 1, itself)
                precisions[i] += oracle.average_precision(scores, relevant, itself)
    np.testing.assert_allclose(hits / rounds, chance.recall_at_1, atol=0.03)
    np.testing.assert_allclose(precisions / rounds, chance.average_precision, atol=0.03)
    assert (chance.counted == (chance.relevant > 0)).all()


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_chance_is_a_probability(labels):
    chance = of_labels(labels)
    for values in (chance.recall_at_1, chance.average_precision):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert (chance.average_precision >= chance.recall_at_1 - 1e-12).all()
    assert 0 <= chance.failing(np.ones(len(labels))) <= len(labels)


def test_the_least_number_of_queries_is_the_one_that_is_derived():
    """Least n at which a drop of 0.15 stays within 0.05 in fewer than 5 % of the cases."""
    from math import comb

    def unseen(n: int, lost: float) -> float:
        return sum(comb(n, k) * lost**k * (1 - lost) ** (n - k) for k in range(int(0.05 * n + 1e-9) + 1))

    assert unseen(MIN_FAILING, 0.15) < 0.05
    assert unseen(MIN_FAILING - 1, 0.15) < 0.06 and unseen(2, 0.5) > 0.05


def of_classes(sizes, seed=0, spread=0.4):
    """Probes of a dense encoder that tells classes apart, and a subnetwork near it."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.standard_normal((len(sizes), 32))
    dense = unit(centres[labels] + spread * rng.standard_normal((len(labels), 32)))
    subnetwork = unit(dense + 0.02 * rng.standard_normal(dense.shape))
    return Probes(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, dense, subnetwork)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def verdict(embeddings, probes):
    """Parity is not the question here: the subnetwork itself is what is judged."""
    return measure(embeddings, replace(probes, subnetwork=embeddings), TABLE["fp32"], "test")


UNTESTED = {
    "one class": [312],
    "nearly one class": [300, 12],
    "a long tail": [2] + [1] * 310,
    "a handful": [2] * 10,
    "pairs of a few": [2] * 14 + [1] * 200,
}


def test_copies_are_nothing_to_find():
    """Every picture twice, each of its own class: a probe could only find itself."""
    alone = of_classes([1] * 40 + [2])
    rows = np.repeat(np.arange(len(alone)), 2)
    twice = Probes(*(getattr(alone, n)[rows] for n in ("images", "labels", "dense", "subnetwork")))
    record = verdict(np.array(twice.subnetwork), twice)
    assert record.verdict == "not verified" and record.figures.queries == 4


def test_probes_of_one_picture_are_no_crash():
    rows = np.zeros(6, int)
    one = of_classes([2])
    same = Probes(*(getattr(one, n)[rows] for n in ("images", "labels", "dense", "subnetwork")))
    record = verdict(np.array(same.subnetwork), same)
    assert record.verdict == "incompatible"  # an encoder that embeds all alike shows no closeness
    assert record.figures.queries == 0 == record.figures.recall_at_1


@pytest.mark.parametrize("name", UNTESTED)
def test_where_chance_would_pass_nothing_is_verified(name):
    probes = of_classes(UNTESTED[name])
    record = verdict(np.array(probes.subnetwork), probes)
    assert record.verdict == "not verified", record
    assert "random embeddings" in record.reasons[0]
    chance = unit(np.random.default_rng(5).standard_normal(probes.dense.shape))
    assert verdict(chance, probes).verdict == "incompatible"  # closeness needs no labels


@pytest.mark.parametrize("sizes", [[8] * 39, [156, 156], [2] * 100, [4] * 20])
def test_where_chance_would_fail_honest_embeddings_are_compatible(sizes):
    probes = of_classes(sizes)
    record = verdict(np.array(probes.subnetwork), probes)
    assert record.verdict == "compatible", record.reasons
    for seed in range(5):
        chance = unit(np.random.default_rng(seed).standard_normal(probes.dense.shape))
        names = [reason.split()[0] for reason in verdict(chance, probes).reasons]
        assert "compatibility.recall_at_1_drop" in names and "closeness.to_dense" in names


def test_a_dense_encoder_at_chance_verifies_nothing():
    probes = of_classes([8] * 39)
    rng = np.random.default_rng(1)
    lost = replace(probes, dense=unit(rng.standard_normal(probes.dense.shape)))
    record = verdict(np.array(lost.dense), lost)
    assert record.verdict == "not verified"
    assert "Recall@1" in record.reasons[0]


def test_labels_in_a_wrong_order_verify_nothing():
    probes = of_classes([8] * 39)
    wrong = replace(probes, labels=np.random.default_rng(2).permutation(probes.labels))
    assert verdict(np.array(wrong.subnetwork), wrong).verdict == "not verified"
