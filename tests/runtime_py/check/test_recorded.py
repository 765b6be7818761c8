"""A later check is held against the figures of the export: probes that were replaced and sealed again are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_py import load
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure


def exported(probes):
    synthetic = np.array(probes.parity.subnetwork)
    return measure(np.array(probes.subnetwork), probes, TABLE["fp32"], "torch", synthetic=synthetic)


def some_wrong_labels(probes):
    labels = np.array(probes.labels)
    labels[::3] = np.roll(labels[::3], 1)
    return replace(probes, labels=labels)


def turned_dense(probes):
    """The dense embeddings of another server, near enough that every other gate passes."""
    rng = np.random.default_rng(0)
    dense = probes.dense + 0.02 * rng.standard_normal(probes.dense.shape)
    return replace(probes, dense=(dense / np.linalg.norm(dense, axis=1, keepdims=True)).astype(np.float32))


def test_the_bundle_as_exported_passes_every_recorded_gate(make_bundle, probes):
    report = load(make_bundle("onnx", drift=exported(probes))).check()
    assert report.verdict == "compatible", report.reasons
    assert sum(gate.name.startswith("recorded.") for gate in report.gates) == 5
    assert report.notes == ()


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        (some_wrong_labels, "recorded.recall_at_1_dense_drop"),
        (some_wrong_labels, "recorded.map_dense_drop"),
        (turned_dense, "recorded.cosine_to_dense_change"),
    ],
)
def test_replaced_probes_are_seen(make_bundle, probes, change, gate):
    bundle = make_bundle("onnx", own_probes=change(probes), drift=exported(probes))
    report = load(bundle).check()
    assert report.verdict == "incompatible"
    assert any(reason.startswith(gate) for reason in report.reasons), report.reasons
