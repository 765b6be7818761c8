"""Lists that say something wrong: the error names file, line, what was given and what is expected."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from prunnet.data.official import open_task
from prunnet.data.pictures import Pictures, open_picture
from prunnet.errors import DatasetError
from tests.prunnet.data import trees

LISTS = {
    "partition": ("inshop", "Eval/list_eval_partition.txt"),
    "solution": ("gldv2", "test/retrieval_solution_v2.1.csv"),
    "index": ("gldv2", "index/index.csv"),
    "clean": ("gldv2", "train/train_clean.csv"),
    "ebay": ("sop", "Ebay_test.txt"),
    "birds": ("cub200", "image_class_labels.txt"),
    "images": ("cub200", "images.txt"),
    "vehicles": ("veri776", "name_test.txt"),
}


@pytest.mark.parametrize(
    ("key", "old", "new", "said"),
    [
        ("partition", "8\n", "9\n", ":1: expected 8, the number of pictures"),
        (
            "partition",
            " query",
            " probe",
            ":6: evaluation_status is none of train, query, gallery; given 'probe'",
        ),
        ("partition", "item_id", "item", ":2: expected the header 'image_name item_id"),
        ("partition", "query", "gallery", "lists no query picture"),
        ("solution", "Private", "Secret", ":2: Usage is none of Private, Public, Ignored; given 'Secret'"),
        (
            "solution",
            "001aaa",
            "fffaaa",
            ":2: a picture that is right is not listed in index.csv; given 'fffaaa",
        ),
        ("solution", "id,images", "image,images", ":1: expected the header 'id,images,Usage'"),
        ("solution", "000bbb", "../bbb", ":2: not the id of a picture; given '../bbb"),
        ("index", "001aaa", "000aaa", ":3: a picture is listed twice"),
        ("clean", "17,", "x17,", ":2: expected a whole number; given 'x17'"),
        ("ebay", " 11319 ", " ", ":2: expected 'image_id class_id super_class_id path'"),
        ("ebay", " 11319 ", " 1e4 ", ":2: expected a whole number; given '1e4'"),
        ("ebay", "fan_final/8_0.JPG", "../8_0.JPG", "is outside of"),
        ("birds", "2 1\n", "2 201\n", ":2: a class is not in 1..200; given '201'"),
        ("birds", "7 150", "8 150", "images.txt:7: the picture has no class in"),
        ("vehicles", "0002_c003", "0002-c003", ":3: a name does not begin with VEHICLE_cCAMERA_"),
    ],
)
def test_a_wrong_list(key: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    name, file = LISTS[key]
    listed = trees.TREES[name](tmp_path) / file
    text = listed.read_text()
    assert old in text
    listed.write_text(text.replace(old, new))
    with pytest.raises(DatasetError) as caught:
        open_task(name, tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00\x01"])
@pytest.mark.parametrize("key", LISTS)
def test_a_list_that_is_empty_or_no_text(key: str, content: bytes, tmp_path: Path) -> None:
    name, file = LISTS[key]
    (trees.TREES[name](tmp_path) / file).write_bytes(content)
    with pytest.raises(DatasetError, match=Path(file).name.replace(".", r"\.")):
        open_task(name, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("imlist",), None, "'imlist' is not a list of picture names"),
        (("qimlist",), [], "'qimlist' is not a list of picture names"),
        (("imlist", 0), 5, "'imlist' is not a list of picture names"),
        (("gnd",), [], "'gnd' does not hold one entry for each of the 2 names"),
        (("gnd", 1), 3, "query 1 has no box"),
        (("gnd", 0, "bbx"), [1, 2, 3], "query 0 has no box 'bbx' of four numbers"),
        (("gnd", 0, "bbx"), [1, 2, float("nan"), 4], "query 0 has no box 'bbx' of four numbers"),
        (("gnd", 0, "bbx"), [5, 2, 5, 4], "query 0 has the empty box"),
        (("gnd", 0, "hard"), [5], "query 0: 'hard' is not a list of numbers below 5"),
        (("gnd", 0, "easy"), [-1], "query 0: 'easy' is not a list of numbers below 5"),
        (("gnd", 1, "junk"), [0.5], "query 1: 'junk' is not a list of numbers below 5"),
        (("imlist", 0), "../a", "is outside of"),
    ],
)
def test_a_wrong_ground_truth(path: tuple[Any, ...], value: Any, said: str, tmp_path: Path) -> None:
    truth = copy.deepcopy(trees.REVISITED)
    inner: Any = truth
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(DatasetError) as caught:
        open_task("roxford5k", trees.revisited(tmp_path, truth=truth))
    assert said in str(caught.value)


def test_a_ground_truth_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="it holds a list instead of imlist, qimlist and gnd"):
        open_task("roxford5k", trees.revisited(tmp_path, truth=[1]))


def test_a_box_beside_the_picture(tmp_path: Path) -> None:
    trees.picture(tmp_path / "a.png", width=9, height=7)
    boxed = Pictures(tmp_path, ("a.png",), ((20.0, 0.0, 30.0, 5.0),))
    with pytest.raises(DatasetError, match=r"keeps nothing of .*a\.png, which is 9 x 7"):
        boxed.open(0)
    assert open_picture(tmp_path / "a.png", (-3.0, 2.0, 30.0, 5.0)).shape == (3, 9, 3), (
        "the part inside counts"
    )


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"a\.jpg is not a readable picture"):
        Pictures(tmp_path, ("a.jpg",)).read([0], (4, 4))


def test_a_box_counts_pixels_before_the_picture_is_turned_upright(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6  # stored lying, shown turned by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(open_picture(tmp_path / "a.png"), np.rot90(pixels, -1))
    part = open_picture(tmp_path / "a.png", (1.0, 2.0, 6.0, 5.0))
    np.testing.assert_array_equal(part, np.rot90(pixels[2:5, 1:6], -1))
