from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_py import IncompatibleError, load
from runtime_py.bundle.write import write_bundle
from runtime_py.errors import InferenceError
from tests.runtime_py import bundles, tiny
from tests.runtime_py.artifacts import IDENTITY, write_failing_onnx


@pytest.fixture
def encoder(make_bundle):
    return load(make_bundle("onnx"))


def test_no_images_give_no_embeddings(encoder):
    assert encoder.embed(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, tiny.DIMENSION)


def test_a_batch_equals_its_images_one_by_one(encoder):
    images, _ = tiny.glyph_images()
    together = encoder.embed(images[:5])
    assert np.array_equal(together, np.concatenate([encoder.embed(image[None]) for image in images[:5]]))


def test_any_memory_layout_gives_the_same_embeddings(encoder):
    images, _ = tiny.glyph_images()
    assert np.array_equal(encoder.embed(np.asfortranarray(images)), encoder.embed(images))
    assert np.array_equal(encoder.embed(images[::2]), encoder.embed(images)[::2])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.float32), TypeError, "float32, not a uint8 array"),
        ([[[[0, 0, 0]]]], TypeError, "list, not a uint8 array"),
        (np.zeros((32, 32, 3), np.uint8), ValueError, r"images\[None\]"),
        (np.zeros((1, 3, 32, 32), np.uint8), ValueError, r"\[1, 3, 32, 32\], not \[N, H, W, 3\]"),
        (np.zeros((1, 32, 32, 4), np.uint8), ValueError, r"not \[N, H, W, 3\] in RGB"),
        (np.zeros((1, 64, 48, 3), np.uint8), ValueError, r"64 x 48.*32 x 32.*resize\(\(32, 32\)"),
        (np.zeros((), np.uint8), ValueError, "shape"),
    ],
)
def test_bad_images_are_refused_with_the_remedy(encoder, images, error, message):
    with pytest.raises(error, match=message):
        encoder.embed(images)


def test_a_bundle_of_another_subnetwork_drifts(make_bundle, probes):
    """The artifact is sound and its identity matches; only real images tell that its weights are others."""
    others = replace(probes, subnetwork=tiny.embed(tiny.tiny_encoder(seed=1), probes.images))
    report = load(make_bundle("onnx", own_probes=others)).check()
    assert report.verdict == "incompatible"
    assert report.reasons[0].startswith("parity.min_cosine")


def test_a_runtime_that_fails_is_not_verified(probes, tmp_path):
    write_failing_onnx(tmp_path / "failing.onnx", IDENTITY)
    draft = bundles.manifest("onnx", probes)
    encoder = load(write_bundle(draft, tmp_path / "failing.onnx", probes, tmp_path / "bundle"))
    with pytest.raises(InferenceError, match=r"ONNX Runtime .* failed while it embedded"):
        encoder.embed(probes.images)

    report = encoder.check()

    assert report.verdict == "not verified"
    with pytest.raises(IncompatibleError, match="not verified"):
        report.raise_if_incompatible()


def test_a_server_that_fails_is_not_verified(encoder, tmp_path):
    write_failing_onnx(tmp_path / "server.onnx", IDENTITY)
    report = encoder.check(tmp_path / "server.onnx")
    assert report.verdict == "not verified"
    assert report.reasons[0].startswith("the server failed")
