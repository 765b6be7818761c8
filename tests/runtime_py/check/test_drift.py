from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_py.bundle.manifest import DriftRecord
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import TABLE, Tolerances
from runtime_py.check.drift import Gate, at_least, at_most, gates, measure
from runtime_py.check.report import DriftReport
from runtime_py.errors import IncompatibleError
from tests.oracles import retrieval as oracle
from tests.runtime_py import tiny

ANY = Tolerances(min_cosine=-1, min_mean_cosine=-1, min_top1_agreement=0, max_recall_drop=1, max_map_drop=1)


def judge(embeddings, probes, tolerances=None):
    return measure(np.asarray(embeddings, np.float32), probes, tolerances or TABLE["fp32"], "test")


def test_figures_equal_the_oracle(probes):
    rng = np.random.default_rng(0)
    noisy = probes.subnetwork + 0.3 * rng.standard_normal(probes.subnetwork.shape)
    noisy = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)

    figures = judge(noisy, probes).figures

    def scores(queries):
        return [[oracle.cosine(q, g) for g in probes.dense] for q in queries]

    mine, theirs, reference = scores(noisy), scores(probes.dense), scores(probes.subnetwork)
    same, shared, hits, precisions, dense_hits, dense_precisions = [], [], [], [], [], []
    for i, label in enumerate(probes.labels):
        itself = [j == i for j in range(len(probes))]
        relevant = [other == label and j != i for j, other in enumerate(probes.labels)]
        order, expected = oracle.ranked(mine[i], itself), oracle.ranked(reference[i], itself)
        same.append(order[0] == expected[0])
        tenth = reference[i][expected[9]] - 1e-6  # equal within rounding is as good
        shared.append(sum(reference[i][j] >= tenth for j in order[:10]) / 10)
        hits.append(oracle.recall_at_k(mine[i], relevant, 1, itself))
        precisions.append(oracle.average_precision(mine[i], relevant, itself))
        dense_hits.append(oracle.recall_at_k(theirs[i], relevant, 1, itself))
        dense_precisions.append(oracle.average_precision(theirs[i], relevant, itself))
    cosines = [oracle.cosine(a, b) for a, b in zip(noisy, probes.subnetwork, strict=True)]
    assert figures.min_cosine == pytest.approx(min(cosines))
    assert figures.mean_cosine == pytest.approx(np.mean(cosines))
    assert figures.worst_probe == int(np.argmin(cosines))
    assert figures.top1_agreement == pytest.approx(np.mean(same))
    assert figures.topk_overlap == pytest.approx(np.mean(shared))
    assert figures.recall_at_1 == pytest.approx(np.mean(hits))
    assert figures.map == pytest.approx(np.mean(precisions))
    assert figures.recall_at_1_dense == pytest.approx(np.mean(dense_hits))
    assert figures.map_dense == pytest.approx(np.mean(dense_precisions))
    assert 0.05 < figures.recall_at_1 < 1  # neither gate compares constants


def test_the_subnetwork_itself_has_no_drift(probes):
    record = judge(probes.subnetwork, probes)
    assert record.verdict == "compatible"
    assert record.reasons == ()
    assert record.figures.min_cosine == pytest.approx(1)
    assert record.figures.top1_agreement == record.figures.topk_overlap == 1


@pytest.mark.parametrize(
    ("spoil", "gate"),
    [
        (lambda e: e * np.nan, "parity.finite"),
        (lambda e: np.where(np.arange(len(e))[:, None] == 3, np.nan, e), "parity.finite"),
        (lambda e: np.where(np.arange(len(e))[:, None] == 3, np.inf, e), "parity.finite"),
        (lambda e: e * 0, "parity.unit_length"),
        (lambda e: e * 1.01, "parity.unit_length"),
        (lambda e: -e, "parity.min_cosine"),
        (lambda e: np.roll(e, 1, axis=0), "parity.top1_agreement"),
        (lambda e: np.roll(e, 1, axis=1), "parity.mean_cosine"),
        (lambda e: np.repeat(e[:1], len(e), axis=0), "compatibility.recall_at_1_drop"),
        (lambda e: e[::-1], "compatibility.map_drop"),
    ],
)
def test_spoiled_embeddings_are_incompatible(probes, spoil, gate):
    record = judge(spoil(np.array(probes.subnetwork)), probes)
    assert record.verdict == "incompatible"
    assert any(reason.startswith(gate) for reason in record.reasons), record.reasons


def test_no_tolerance_lets_a_nan_or_a_zero_vector_pass(probes):
    for bad in (np.nan, np.inf, 0.0):
        embeddings = np.array(probes.subnetwork)
        embeddings[5] = bad
        record = judge(embeddings, probes, ANY)
        assert record.verdict == "incompatible"
        assert record.figures.worst_probe == 5
        assert record.figures.min_cosine == -1
    assert judge(-probes.subnetwork, probes, ANY).verdict == "compatible"


def test_embeddings_without_direction_retrieve_nothing(probes):
    figures = judge(probes.subnetwork * np.nan, probes).figures
    assert figures.top1_agreement == figures.topk_overlap == figures.recall_at_1 == figures.map == 0
    assert figures.mean_cosine == figures.mean_cosine_to_dense == -1


def test_swapped_channels_are_caught(probes):
    swapped = tiny.embed(tiny.tiny_encoder(), np.ascontiguousarray(probes.images[..., ::-1]))
    assert judge(swapped, probes).verdict == "incompatible"


def test_rank_damage_is_caught_where_the_mean_cosine_is_blind():
    """A probe's two neighbours differ by 6e-6 in cosine: a cosine error of 5e-8 swaps them."""
    angles = np.array([0.0, 0.02, -0.0203, 2.0, 2.5, 3.0, 4.0, 4.5])
    dense = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    images = np.zeros((8, 4, 4, 3), np.uint8)
    probes = Probes(images, np.array([0, 0, 1, 1, 2, 2, 3, 3]), dense, dense)
    turned = np.stack([np.cos(angles - 3e-4), np.sin(angles - 3e-4)], axis=1)

    record = judge(turned, probes)

    assert record.figures.mean_cosine > 0.9999999
    assert record.verdict == "incompatible"
    assert any(reason.startswith("parity.top1_agreement") for reason in record.reasons)


def test_another_dimension_is_refused(probes):
    with pytest.raises(IncompatibleError, match=r"\[50, 15\]"):
        judge(probes.subnetwork[:, :15], probes)


@pytest.mark.parametrize("compare", [at_least, at_most])
def test_nan_fails_every_comparison(compare):
    assert not compare("x", float("nan"), 0.5).passed
    assert not compare("x", 0.5, float("nan")).passed
    assert compare("x", 0.5, 0.5).passed


def test_probes_on_which_nothing_can_drop_verify_nothing(probes):
    """The dense encoder retrieves next to nothing: its queries could be any, and no drop would show."""
    strangers = replace(probes, labels=np.arange(50) % 49)  # one pair: an A and an 8
    worst = strangers.subnetwork
    wide = TABLE["fp32"].model_copy(update={"max_recall_drop": 0.2, "max_map_drop": 0.2})
    record = judge(worst, strangers, wide)
    assert max(record.figures.recall_at_1_dense, record.figures.map_dense) <= 0.2
    assert record.verdict == "not verified"
    assert "to see a drop" in record.reasons[0] and "would pass" in record.reasons[1]
    unwanted = wide.model_copy(update={"max_recall_drop": 1, "max_map_drop": 1})
    assert judge(worst, strangers, unwanted).verdict == "compatible"
    assert judge(-worst, strangers).verdict == "incompatible"


def test_a_drop_that_equals_its_tolerance_passes():
    assert 0.90 - 0.85 > 0.05
    assert at_most("drop", 0.90 - 0.85, 0.05).passed
    assert not at_most("drop", 0.051, 0.05).passed


def test_every_tolerance_has_its_gate(probes):
    """Tightening any one tolerance to its end turns the verdict of slightly noisy embeddings."""
    noise = np.random.default_rng(1).standard_normal(probes.subnetwork.shape)
    noisy = probes.subnetwork + 0.2 * noise
    noisy = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    assert judge(noisy, probes, ANY).verdict == "compatible"
    for field in ("min_cosine", "min_mean_cosine", "min_top1_agreement"):
        assert judge(noisy, probes, ANY.model_copy(update={field: 1.0})).verdict == "incompatible", field
    for field in ("max_recall_drop", "max_map_drop"):
        assert judge(noisy, probes, ANY.model_copy(update={field: 0.0})).verdict == "incompatible", field


def test_raise_names_figure_value_tolerance_and_worst_probe(probes):
    embeddings = np.array(probes.subnetwork)
    embeddings[17] *= -1
    report = DriftReport.of(judge(embeddings, probes))
    with pytest.raises(IncompatibleError) as raised:
        report.raise_if_incompatible()
    error = raised.value
    assert (error.figure, error.tolerance, error.worst_probe) == ("parity.min_cosine", 0.9999999, 17)
    assert error.value == pytest.approx(-1)
    for part in ("parity.min_cosine", "-1", "0.9999999", "17"):
        assert part in str(error)


def test_not_verified_raises_too(probes):
    report = DriftReport("not verified", ("the server was absent",), None, TABLE["fp32"], "test")
    with pytest.raises(IncompatibleError, match="absent"):
        report.raise_if_incompatible()


def test_verdict_and_gates_agree(probes):
    for embeddings in (probes.subnetwork, probes.dense, -probes.subnetwork):
        record = judge(embeddings, probes)
        judged = gates(record.figures, record.tolerances)
        assert (record.verdict == "compatible") == all(gate.passed for gate in judged)
        assert all(isinstance(gate, Gate) for gate in judged)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"reasons": ("but",)}, "compatible with a reason"),
        ({"figures": None}, "without figures"),
        ({"verdict": "incompatible"}, "incompatible without a reason"),
        ({"verdict": "not verified"}, "not verified without a reason"),
    ],
)
def test_a_record_whose_verdict_and_reasons_disagree_is_refused(probes, changes, problem):
    record = measure(np.array(probes.subnetwork), probes, TABLE["fp32"], "test").model_dump()
    assert DriftRecord.model_validate(record).verdict == "compatible"
    with pytest.raises(ValueError, match=problem):
        DriftRecord.model_validate(record | changes)


def test_the_probes_refuse_what_is_no_probe(probes):
    nan = np.array(probes.dense)
    nan[0, 0] = np.nan
    for changes, problem in (
        ({"images": probes.images.astype(np.float32)}, "images is float32"),
        ({"images": probes.images[..., :1]}, r"not \[P, H, W, 3\]"),
        ({"labels": probes.labels[:-1]}, "labels has shape"),
        ({"labels": np.arange(50)}, "no label occurs twice"),
        ({"dense": probes.dense[:, :4]}, "unit length"),
        ({"dense": probes.dense * np.float32(1.1)}, "unit length"),
        ({"dense": nan}, "row 0 is not finite"),
        ({"subnetwork": probes.subnetwork[:1]}, "subnetwork has shape"),
    ):
        with pytest.raises(ValueError, match=problem):
            replace(probes, **changes)


def test_probes_round_trip_and_write_the_same_bytes(probes, tmp_path):
    probes.save(tmp_path / "a.npz")
    probes.save(tmp_path / "b.npz")
    loaded = Probes.load(tmp_path / "a.npz")
    for name in ("images", "labels", "dense", "subnetwork"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(probes, name))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
