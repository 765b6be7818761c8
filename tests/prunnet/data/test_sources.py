from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prunnet.data import open_data, open_test_pictures
from prunnet.data.glyph_set import glyph_set
from prunnet.data.glyphs import MIN_FACES, Glyphs, cache_folder, load_glyphs
from prunnet.data.pictures import read_picture
from prunnet.data.source import rows_of_step, step_generator
from prunnet.data.views import camera_views
from prunnet.errors import DatasetError


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    return load_glyphs()


def test_glyphs_are_what_the_card_says(glyphs: Glyphs) -> None:
    counts = np.bincount(glyphs.classes)
    assert len(counts) == len(glyphs.characters) > 2000
    assert counts.min() >= MIN_FACES
    assert glyphs.pictures.shape[1:] == (64, 64) and glyphs.pictures.dtype == np.uint8
    assert (glyphs.pictures.max((1, 2)) >= 64).all(), "a blank glyph"


def test_characters_drawn_alike_are_one_class(glyphs: Glyphs) -> None:
    assert "A" in glyphs.characters
    assert "\N{GREEK CAPITAL LETTER ALPHA}" not in glyphs.characters
    assert "\N{CYRILLIC CAPITAL LETTER A}" not in glyphs.characters


def test_train_and_test_characters_are_disjoint(glyphs: Glyphs) -> None:
    train, test = glyphs.split()
    assert not set(glyphs.classes[train]) & set(glyphs.classes[test])
    assert sorted([*train, *test]) == list(range(len(glyphs.classes)))
    again = glyphs.split()
    assert np.array_equal(train, again[0])
    assert not np.array_equal(test, glyphs.split(seed=1)[1])


def test_a_damaged_cache_is_rendered_again(
    glyphs: Glyphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNNET_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    first = load_glyphs()
    (cache,) = tmp_path.iterdir()
    cache.write_bytes(cache.read_bytes()[:1000])
    second = load_glyphs()
    for other in (first, second):
        assert np.array_equal(other.pictures, glyphs.pictures)
        assert other.characters == glyphs.characters
    assert np.load(cache)["pictures"].shape == glyphs.pictures.shape


def test_views_come_from_their_generator_alone(glyphs: Glyphs) -> None:
    pictures = torch.from_numpy(glyphs.pictures[:20])
    first, again, other = (camera_views(pictures, step_generator(s, 4), 48) for s in (3, 3, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (20, 3, 48, 48)
    assert first.min() >= 0 and first.max() <= 255 and torch.equal(first, first.round())
    assert (first.flatten(1).std(1) > 4).all(), "a view without anything to see"


def test_an_epoch_shows_each_item_once() -> None:
    rows = np.concatenate([rows_of_step(103, 7, step, 10) for step in range(10)])
    assert len(set(rows)) == 100
    following = np.concatenate([rows_of_step(103, 7, step, 10) for step in range(10, 20)])
    assert len(set(following)) == 100 and not np.array_equal(rows, following)
    assert len(rows_of_step(5, 0, 0, 10)) == 5


def test_glyph_set_is_the_same_every_time() -> None:
    first, second = glyph_set(32), glyph_set(32)
    assert np.array_equal(first.test.images, second.test.images)
    assert torch.equal(first.train.batch(1, 9, 16)[0], second.train.batch(1, 9, 16)[0])
    assert np.array_equal(first.train.calibration(8), second.train.calibration(8))
    labels = first.train.batch(1, 9, 16)[1]
    assert labels.dtype == torch.int64 and int(labels.max()) < first.train.classes


@pytest.fixture
def picture_tree(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for shot in range(3):
                colour = (80 * number, 40 * shot, 200)
                Image.new("RGB", (40 + shot, 30), colour).save(folder / f"{shot}.png")
    return tmp_path


def test_folder_of_pictures(picture_tree: Path) -> None:
    data = open_data("folder", str(picture_tree), (16, 24))
    assert data.train.classes == 2 and data.train.size == 6
    pixels, labels = data.train.batch(0, 0, 6)
    assert pixels.shape == (6, 3, 16, 24)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        assert image[0].mean() == 80 * label, "the red of the class folder"
    assert data.test.images.shape == (6, 16, 24, 3)
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(open_test_pictures(str(picture_tree), (16, 24)).images, data.test.images)


def test_a_folder_is_called_by_its_name_from_wherever(
    picture_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture_tree)
    for path in (str(picture_tree), ".", "train/.."):
        assert open_data("folder", path, (16, 16)).name == picture_tree.name


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 10), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 0, 10, 10))  # left half blue
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left half comes up
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = read_picture(tmp_path / "turned.png", (20, 10))
    assert pixels[2, 5].tolist() == [0, 0, 255] and pixels[17, 5].tolist() == [255, 0, 0]


def test_broken_trees_say_what_is_missing(picture_tree: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere.train is missing.*CLASS"):
        open_data("folder", str(picture_tree / "nowhere"), (16, 16))
    (picture_tree / "train" / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty holds no picture"):
        open_data("folder", str(picture_tree), (16, 16))
    (picture_tree / "train" / "empty" / "1.jpg").write_bytes(b"not a jpeg")
    data = open_data("folder", str(picture_tree), (16, 16))
    assert data.train.classes == 2 and data.train.size == 6
    assert any("1 damaged (empty/1.jpg: " in line for line in data.notes)
    assert any("1 class without a readable picture (empty)" in line for line in data.notes)
    with pytest.raises(DatasetError, match="glyphs are square"):
        open_data("glyphs", None, (16, 24))
