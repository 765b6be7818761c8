"""Quantised artifacts: what they lost is judged by retrieval, and what they give by what they gave at the export."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_py.bundle.probes import Probes, Recorded
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure

INT8 = TABLE["int8"]


def noisy(vectors: np.ndarray, size: float) -> np.ndarray:
    moved = vectors + size * np.random.default_rng(0).standard_normal(vectors.shape)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def judge(embeddings: np.ndarray, probes: Probes, recorded: bool = False):
    synthetic = np.array(probes.parity.subnetwork)
    first = measure(embeddings, probes, INT8, "test", synthetic=synthetic)
    if not recorded:
        return first
    return measure(embeddings, probes, INT8, "test", synthetic=synthetic, recorded=first.figures)


def test_noise_of_eight_bits_is_no_fault(probes):
    record = judge(noisy(probes.subnetwork, 0.008), probes)
    assert record.figures.mean_cosine < TABLE["fp32"].min_mean_cosine
    assert record.verdict == "compatible", record.reasons


def test_what_compression_loses_is_held_against_the_subnetwork_not_against_dense(probes):
    record = judge(np.array(probes.subnetwork), probes)
    assert record.figures.recall_at_1_subnetwork == pytest.approx(record.figures.recall_at_1)
    assert record.figures.map_subnetwork == pytest.approx(record.figures.map)
    lost = judge(noisy(probes.subnetwork, 0.4), probes)
    assert lost.figures.map_subnetwork == record.figures.map_subnetwork
    names = {reason.split(" ")[0] for reason in lost.reasons}
    assert {"compression.mean_cosine", "compression.map_drop"} <= names
    assert not any(name.startswith("parity.") for name in names)


def test_a_later_check_holds_the_artifact_against_itself(probes):
    given = noisy(probes.subnetwork, 0.01)
    kept = replace(probes, recorded=Recorded(given, np.array(probes.parity.subnetwork)))
    same = judge(given, kept, recorded=True)
    assert same.figures.recorded_min_cosine == pytest.approx(1) and same.verdict == "compatible", same.reasons
    moved = judge(noisy(given, 0.03), kept, recorded=True)
    assert any(reason.startswith("recorded.mean_cosine") for reason in moved.reasons), moved.reasons
    assert judge(given, probes).figures.recorded_min_cosine is None


LITERT = "LiteRT 2.3.0 on x86_64 Linux"


@pytest.mark.parametrize(
    ("runtime", "moved", "asked"),
    [
        ("LiteRT 2.3.0 on aarch64 Linux", 0.004, 0.999),
        ("LiteRT 2.3.0 (XNNPACK) on armv8 Android 16", 0.0004, 0.9999),
        ("LiteRT 2.3.0 on aarch64 Linux", 0.0, 1 - 1e-6),
        ("LiteRT 2.3.0 on aarch64 Linux", 0.1, 0.997),
        ("LiteRT 2.3.1 on x86_64 Linux", 0.0004, 0.997),
        ("TensorFlow Lite 2.3.0 on x86_64 Linux", 0.0004, 0.997),
        ("an app on Pixel 8", 0.0004, 0.997),
    ],
)
def test_the_same_release_of_a_runtime_rounds_alike(runtime, moved, asked):
    found = INT8.between(LITERT, runtime, moved)
    assert found.min_recorded_mean_cosine == pytest.approx(asked, abs=1e-12)
    assert found.min_recorded_cosine == INT8.min_recorded_cosine
    assert TABLE["fp32"].between(LITERT, LITERT, moved) is TABLE["fp32"]


@pytest.mark.parametrize("spoil", [lambda e: e[:-1], lambda e: e * 2, lambda e: e.astype(np.float64)])
def test_recorded_embeddings_are_validated(probes, spoil):
    given = np.array(probes.subnetwork)
    with pytest.raises(ValueError, match="recorded"):
        replace(probes, recorded=Recorded(spoil(given), np.array(probes.parity.subnetwork)))
    with pytest.raises(ValueError, match="parity_recorded"):
        replace(probes, parity=None, recorded=Recorded(given, np.array(probes.parity.subnetwork)))


def test_recorded_embeddings_are_read_back(probes, tmp_path):
    kept = replace(probes, recorded=Recorded(np.array(probes.subnetwork), np.array(probes.parity.subnetwork)))
    kept.save(tmp_path / "probes.npz")
    assert np.array_equal(Probes.load(tmp_path / "probes.npz").recorded.probes, probes.subnetwork)
