"""Parity pictures: the same everywhere, and changed by whatever goes wrong with an input."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import measure
from runtime_py.check.parity_pictures import NAMES, name_of, parity_pictures
from tests.runtime_py import tiny


def test_the_pictures_are_the_same_bytes_everywhere():
    pictures = parity_pictures(48, 48)
    assert pictures.shape == (len(NAMES), 48, 48, 3) and pictures.dtype == np.uint8
    assert hashlib.sha256(pictures.tobytes()).hexdigest().startswith("9022fb72a5049408")


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (32, 48), (224, 224)])
def test_there_are_pictures_of_every_size(size):
    assert parity_pictures(*size).shape == (len(NAMES), *size, 3)


def test_they_differ_from_one_another_and_have_names():
    pictures = parity_pictures(32, 32)
    assert len({picture.tobytes() for picture in pictures}) == len(NAMES) == len(set(NAMES))
    assert name_of(0) == NAMES[0] and name_of(99) == "picture 99"


INPUT_FAULTS = {
    "swapped channels": lambda x: x[..., ::-1],
    "channels turned": lambda x: x[..., [1, 2, 0]],
    "grey": lambda x: np.repeat(x.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1),
    "mean": lambda x: np.clip(x.astype(int) + 10, 0, 255).astype(np.uint8),
    "std": lambda x: np.clip(128 + (x.astype(int) - 128) * 0.9, 0, 255).astype(np.uint8),
    "range": lambda x: (x // 255).astype(np.uint8),
    "mirrored": lambda x: x[:, :, ::-1],
    "upside down": lambda x: x[:, ::-1],
    "transposed": lambda x: x.transpose(0, 2, 1, 3),
    "turned": lambda x: np.rot90(x, 1, (1, 2)),
    "halved and doubled": lambda x: x[:, ::2, ::2].repeat(2, 1).repeat(2, 2),
    "shifted": lambda x: np.roll(x, 1, 2),
}


@pytest.mark.parametrize("fault", INPUT_FAULTS)
def test_each_fault_of_the_input_shows_in_them_alone(probes, fault):
    """The probes are embedded right, so that nothing but the pictures can tell."""
    spoiled = np.ascontiguousarray(INPUT_FAULTS[fault](probes.parity.images))
    synthetic = tiny.embed(tiny.tiny_encoder(), spoiled)
    record = measure(np.array(probes.subnetwork), probes, TABLE["fp32"], "test", synthetic=synthetic)
    assert record.verdict == "incompatible"
    assert [reason.split()[0] for reason in record.reasons] == ["parity.synthetic_min_cosine"]
    assert record.figures.worst_picture in record.reasons[0]


def test_right_pictures_pass_and_nan_fails(probes):
    synthetic = np.array(probes.parity.subnetwork)
    right = measure(np.array(probes.subnetwork), probes, TABLE["fp32"], "test", synthetic=synthetic)
    assert right.verdict == "compatible", right.reasons
    synthetic[3] = np.nan
    wrong = measure(np.array(probes.subnetwork), probes, TABLE["fp32"], "test", synthetic=synthetic)
    assert any(reason.startswith("parity.synthetic_min_cosine is -1") for reason in wrong.reasons)


def test_the_probes_refuse_wrong_parity_pictures(probes):
    parity = probes.parity
    for changes, problem in (
        ({"images": parity.images.astype(np.float32)}, "parity_images is float32"),
        ({"images": parity.images[:, ::2]}, "parity_images has shape"),
        ({"images": parity.images[:0]}, "parity_images has shape"),
        ({"dense": parity.dense[:-1]}, "parity_dense has shape"),
        ({"dense": parity.dense * np.float32(2)}, "parity_dense row 0"),
        ({"subnetwork": np.eye(18, dtype=np.float32)}, "parity_subnetwork has 18 dimensions"),
    ):
        with pytest.raises(ValueError, match=problem):
            replace(probes, parity=replace(parity, **changes))


def test_probes_with_and_without_pictures_round_trip(probes, tmp_path):
    for stored in (probes, replace(probes, parity=None)):
        stored.save(tmp_path / "p.npz")
        loaded = type(probes).load(tmp_path / "p.npz")
        assert (loaded.parity is None) == (stored.parity is None)
        if loaded.parity is not None:
            for name in ("images", "dense", "subnetwork"):
                np.testing.assert_array_equal(getattr(loaded.parity, name), getattr(stored.parity, name))
