"""A catalogue that holds pictures more than once: equal within rounding counts as equal, faults are still seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure
from runtime_py.check.duplicates import representatives
from tests.runtime_py.check.test_chance import of_classes, unit


def copied(probes, copies, seed=0, rounding=1e-7):
    """Every picture `copies` times, in a drawn order, each embedded with its own rounding."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(len(probes)), copies))

    def noisy(vectors):
        return (vectors[rows] + rounding / 6 * rng.standard_normal((len(rows), 32))).astype(np.float32)

    return replace(
        probes,
        images=probes.images[rows],
        labels=probes.labels[rows],
        dense=noisy(probes.dense),
        subnetwork=noisy(probes.subnetwork),
    ), noisy


@pytest.mark.parametrize("copies", [2, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_an_exact_artifact_is_compatible_however_often_a_picture_occurs(copies, seed):
    probes = of_classes([6] * 20, seed)
    many, noisy = copied(probes, copies, seed)
    record = measure(noisy(probes.subnetwork), many, TABLE["fp32"], "test")
    assert record.verdict == "compatible", record.reasons
    assert record.figures.top1_agreement == record.figures.topk_overlap == 1
    exact = measure(np.array(many.subnetwork), many, TABLE["fp32"], "test").figures
    assert record.figures.map == exact.map and record.figures.recall_at_1 == exact.recall_at_1


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_with_other_labels_do_not_let_rounding_decide(copies):
    """One picture in two classes: which copy comes first is the rule's business, not the runtime's."""
    probes = of_classes([6] * 20)
    many, noisy = copied(probes, copies + 1)
    labels = np.array(many.labels)
    labels[:: copies + 1] = (labels[:: copies + 1] + 1) % 20
    many = replace(many, labels=labels)
    figures = [measure(noisy(probes.subnetwork), many, TABLE["fp32"], "test").figures for _ in range(3)]
    assert len({(f.map, f.recall_at_1, f.map_dense) for f in figures}) == 1


@pytest.mark.parametrize("copies", [3, 6])
def test_a_wrong_neighbour_is_still_caught_among_copies(copies):
    probes = of_classes([6] * 20)
    many, noisy = copied(probes, copies)
    rng = np.random.default_rng(3)
    drifted = unit(noisy(probes.subnetwork) + 0.05 * rng.standard_normal(many.dense.shape))
    loose = TABLE["fp32"].model_copy(update={"min_cosine": -1.0, "min_mean_cosine": -1.0})
    record = measure(drifted, many, loose, "test")
    assert record.figures.top1_agreement < 0.99
    assert record.verdict == "incompatible"


def test_representatives_are_first_rows_and_ends_of_chains():
    step = 0.9e-6  # each row equals the next, the first does not equal the last
    angles = np.array([0.0, 1.0, step, 2 * step, 1.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert representatives(rows).tolist() == [0, 1, 0, 0, 1]
    assert representatives(np.eye(5, dtype=np.float32)).tolist() == list(range(5))
