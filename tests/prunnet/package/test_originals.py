"""Pictures of original size in encoder packages: taken from the test set, small, upright again, kept."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from prunnet.data import open_data
from prunnet.package.images import PackageImages
from prunnet.package.load import load_encoder
from prunnet.package.originals import COUNT, MOST_BYTES, encoded, original_files
from prunnet.train.run import _probes
from runtime_py.check.originals import framed
from runtime_py.framing import Framing
from runtime_py.picture_files import open_picture

RNG = np.random.default_rng(0)


def test_large_noise_is_made_small_and_a_turned_picture_comes_upright(tmp_path: Path) -> None:
    noise = RNG.integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    small = encoded(noise, turned=False, above=(32, 32))
    assert small is not None and len(small) <= MOST_BYTES
    assert min(Image.open(io.BytesIO(small)).size) > 32
    assert encoded(noise, turned=False, above=(448, 448)) is None, "64 KiB hold no noise of that size"
    assert original_files(lambda number: noise, range(9), (448, 448)) == ()
    ramp = np.broadcast_to(np.arange(120, dtype=np.uint8)[None, :, None], (80, 120, 3))
    (tmp_path / "a.jpg").write_bytes(encoded(np.ascontiguousarray(ramp), True, (32, 32)) or b"")
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.size == (80, 120)
    upright = open_picture(tmp_path / "a.jpg")
    assert upright.shape == (80, 120, 3) and np.abs(upright.astype(int) - ramp).max() <= 3


def test_a_folder_gives_its_own_pictures(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("train", "b"), ("test", "c"), ("test", "d")):
        (tmp_path / part / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((60, 90, 3), 20 * number + 10, np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    data = open_data("folder", str(tmp_path), (32, 32))
    probes = _probes(data.test, data.train.calibration(4))
    assert len(probes.originals) == COUNT
    sizes = [Image.open(io.BytesIO(each)).size for each in probes.originals]
    assert sizes.count((60, 90)) == 2 and sizes.count((90, 60)) == COUNT - 2
    levels = framed(probes.originals, Framing(height=32, width=32)).mean(axis=(1, 2, 3)).round()
    assert set(levels.tolist()) <= {20 * number + 10 for number in range(6)} and len(set(levels)) > 2
    probes.save(tmp_path / "probes.npz")
    stated = load_encoder().preprocessing.model_copy(update={"height": 32, "width": 32})
    assert PackageImages.load(tmp_path / "probes.npz", stated).originals == probes.originals


def test_pictures_no_larger_than_the_input_are_no_originals() -> None:
    assert original_files(lambda number: np.zeros((32, 32, 3), np.uint8), range(9), (32, 32)) == ()
    assert original_files(None, range(9), (32, 32)) == ()


def test_the_built_in_encoder_has_some() -> None:
    originals = load_encoder().probes.originals
    assert len(originals) == COUNT and sum(map(len, originals)) < 2**18
    assert framed(originals, load_encoder().preprocessing).shape == (COUNT, 48, 48, 3)
