"""What a recipe says about pictures is what happens to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from prunnet.data import open_data
from prunnet.data.augment import Augment
from prunnet.data.folders.picture_training import PictureTraining
from prunnet.data.pictures import Pictures
from prunnet.data.source import rows_of_step, step_generator
from prunnet.errors import DatasetError
from prunnet.train.recipe.data_spec import DataSpec

SIZE = (24, 32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Four photographs of noise, brighter to the right."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for number in range(4):
        ramp = np.linspace(40, 200, 90)[None, :, None] + rng.normal(0, 20, (60, 90, 3)) + [20, 0, -20]
        Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(root / f"{number}.png")
    return Pictures(root, tuple(f"{number}.png" for number in range(4)))


def _batch(pictures: Pictures, seed: int = 5, **augment: Any) -> torch.Tensor:
    return PictureTraining(pictures, [0, 0, 1, 1], SIZE, Augment(**augment)).batch(seed, 2, 4)[0]


def test_the_defaults_are_the_crops_that_the_code_had_fixed(pictures: Pictures) -> None:
    """An oracle of the state before there were keys: 35 to 100 % of the area, half of them mirrored."""
    rows, generator = rows_of_step(4, 5, 2, 4), step_generator(5, 2)
    wanted = []
    for row in rows:
        area, x, y, flip = torch.rand(4, generator=generator).tolist()
        pixels = pictures.open(int(row))
        height, width = (max(1, round(side * (0.35 + 0.65 * area) ** 0.5)) for side in pixels.shape[:2])
        top, left = round(y * (pixels.shape[0] - height)), round(x * (pixels.shape[1] - width))
        crop = Image.fromarray(pixels[top : top + height, left : left + width])
        small = np.asarray(crop.resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR))
        wanted.append(small[:, ::-1] if flip < 0.5 else small)
    got = _batch(pictures).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(got, np.stack(wanted))


def test_the_whole_picture_unchanged(pictures: Pictures) -> None:
    got = _batch(pictures, crop=(1, 1), mirror=False).permute(0, 2, 3, 1).byte().numpy()
    np.testing.assert_array_equal(got, pictures.read(rows_of_step(4, 5, 2, 4), SIZE))


def test_pictures_are_mirrored_only_where_they_may_be(pictures: Pictures) -> None:
    def left_is_darker(images: torch.Tensor) -> list[bool]:
        return (images[..., :8].mean((1, 2, 3)) < images[..., -8:].mean((1, 2, 3))).tolist()

    seeds = range(8)
    assert all(all(left_is_darker(_batch(pictures, seed, mirror=False))) for seed in seeds)
    mirrored = [not each for seed in seeds for each in left_is_darker(_batch(pictures, seed))]
    assert 8 <= sum(mirrored) <= 24
    for seed in seeds:
        plain, turned = _batch(pictures, seed, mirror=False), _batch(pictures, seed)
        for one, other in zip(plain, turned, strict=True):
            assert torch.equal(one, other) or torch.equal(one.flip(2), other), "the crops are the same"


def test_crops_keep_the_share_that_is_asked_for() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(100)[:, None], np.arange(100)[None]
    augment = Augment(crop=(0.04, 0.09), mirror=False)
    spans = []
    for draw in augment.draws(50, torch.Generator().manual_seed(0)):
        crop = augment.apply(pixels, (40, 40), draw)
        spans += [int(np.ptp(crop[..., 0])) + 1, int(np.ptp(crop[..., 1])) + 1]
    assert 19 <= min(spans) < 23 and 27 < max(spans) <= 31, "sides of 0.2 to 0.3"


def test_colour_and_blur_change_what_they_say_and_nothing_else(pictures: Pictures) -> None:
    plain = _batch(pictures)
    coloured, blurred = _batch(pictures, colour=0.4), _batch(pictures, blur=3.0)
    assert not torch.equal(plain, coloured) and not torch.equal(plain, blurred)
    assert (coloured == coloured.round()).all() and coloured.min() >= 0 and coloured.max() <= 255
    ratio = coloured.mean((1, 2, 3)) / plain.mean((1, 2, 3))
    assert ratio.min() > 0.55 and ratio.max() < 1.45 and ratio.std() > 0.05
    assert torch.allclose(plain.mean((1, 2, 3)), blurred.mean((1, 2, 3)), atol=3), "blur keeps the light"

    def roughness(images: torch.Tensor) -> torch.Tensor:
        return images.diff(dim=3).abs().mean((1, 2, 3))

    smoothed = roughness(blurred) / roughness(plain)
    assert (smoothed <= 1).all() and (smoothed < 0.8).any()
    assert torch.equal(_batch(pictures, colour=0.4), coloured), "the same step gives the same pictures"


def test_saturation_leaves_grey_pictures_grey() -> None:
    grey = np.repeat(np.arange(0, 240, dtype=np.uint8).reshape(12, 20)[:, :, None], 3, axis=2)
    augment = Augment(crop=(1, 1), mirror=False, colour=1.0)
    for draw in augment.draws(10, torch.Generator().manual_seed(1)):
        got = augment.apply(grey, (12, 20), draw).astype(int)
        assert np.abs(got - got[..., :1]).max() <= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"crop": [0.9, 0.2]}, "least share comes first"),
        ({"crop": [0, 1]}, "greater than or equal to 0.000001"),
        ({"crop": [0.5, 1.1]}, "less than or equal to 1"),
        ({"crop": [0.5]}, "crop"),
        ({"colour": 2}, "less than or equal to 1"),
        ({"colour": float("nan")}, "finite"),
        ({"blur": -1}, "greater than or equal to 0"),
        ({"flip": True}, "Extra inputs"),
    ],
)
def test_wrong_values_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DataSpec.model_validate({"name": "folder", "path": "x", "augment": given})


def test_every_recipe_of_pictures_states_them_and_glyphs_take_none(tmp_path: Path) -> None:
    assert DataSpec(name="folder", path="x").augment == Augment()
    assert DataSpec(name="sop").augment == Augment()
    assert DataSpec(name="glyphs").augment is None
    with pytest.raises(ValidationError, match="camera views of their own"):
        DataSpec.model_validate({"name": "glyphs", "augment": {"mirror": False}})
    with pytest.raises(DatasetError, match="camera views of their own"):
        open_data("glyphs", None, (32, 32), Augment(mirror=False))


@pytest.mark.parametrize("name", ["folder", "sop"])
def test_a_data_set_obeys(name: str, tmp_path: Path) -> None:
    from tests.prunnet.data import trees

    if name == "sop":
        trees.sop(tmp_path)
    else:
        for part in ("train", "test"):
            for number in range(6):
                trees.picture(
                    tmp_path / part / f"class{number % 3}" / f"{number}.png", shade=20 + 30 * number
                )
    whole = open_data(name, str(tmp_path), (8, 8), Augment(crop=(1, 1), mirror=False)).train
    fixed = whole.calibration(whole.size)
    got = whole.batch(0, 0, whole.size)[0].permute(0, 2, 3, 1).byte().numpy()
    assert sorted(each.tobytes() for each in got) == sorted(each.tobytes() for each in fixed)
    usual = open_data(name, str(tmp_path), (8, 8)).train
    assert not np.array_equal(usual.batch(0, 0, whole.size)[0].permute(0, 2, 3, 1).byte().numpy(), got)
