from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from prunnet.data.official import RetrievalTask, benchmark_names, open_task
from prunnet.errors import DatasetError, UnknownNameError
from tests.prunnet.data import trees


def _relevant(task: RetrievalTask, truth: int = 0) -> list[list[int]]:
    judge = task.truths[truth]
    relevant, ignored = judge.masks(judge.queries)
    kept = relevant if ignored is None else relevant & ~ignored
    return [np.flatnonzero(row).tolist() for row in kept]


def _ignored(task: RetrievalTask, truth: int = 0) -> list[list[int]]:
    ignored = task.truths[truth].masks(task.truths[truth].queries)[1]
    assert ignored is not None
    return [np.flatnonzero(row).tolist() for row in ignored]


def test_every_benchmark_has_a_tree_here() -> None:
    assert set(benchmark_names()) == set(trees.TREES)


@pytest.mark.parametrize("name", trees.TREES)
def test_all_listed_pictures_can_be_read(name: str, tmp_path: Path) -> None:
    task = open_task(name, trees.TREES[name](tmp_path))
    assert task.name == name
    for part in (task.queries, task.gallery):
        images = np.concatenate(list(part.batches((4, 6), count=2)))
        assert images.shape == (len(part), 4, 6, 3) and images.dtype == np.uint8
    for truth in task.truths:
        relevant, _ = truth.masks(truth.queries)
        assert relevant.shape == (len(truth.queries), len(task.gallery))


@pytest.mark.parametrize("name", trees.TREES)
def test_masks_of_some_queries_are_rows_of_all(name: str, tmp_path: Path) -> None:
    for truth in open_task(name, trees.TREES[name](tmp_path)).truths:
        relevant, ignored = truth.masks(truth.queries)
        for row, query in enumerate(truth.queries):
            one, out = truth.masks(np.array([query]))
            np.testing.assert_array_equal(one[0], relevant[row])
            assert (out is None) == (ignored is None)
            if out is not None and ignored is not None:
                np.testing.assert_array_equal(out[0], ignored[row])


@pytest.mark.parametrize("name", trees.TREES)
def test_a_tiny_copy_is_said_to_be_no_official_one(name: str, tmp_path: Path) -> None:
    task = open_task(name, trees.TREES[name](tmp_path))
    assert task.differences == task.counts != ()
    gallery = next(
        count
        for count in task.counts
        if "gallery" in count.what or "index" in count.what or name in ("sop", "cub200")
    )
    assert gallery.found < gallery.official


def test_gldv2(tmp_path: Path) -> None:
    task = open_task("gldv2", trees.gldv2(tmp_path))
    assert [truth.name for truth in task.truths] == ["private", "public"]
    assert [truth.queries.tolist() for truth in task.truths] == [[0, 2, 3], [1]]
    assert _relevant(task, 0) == [[1, 3], [], [5]] and _relevant(task, 1) == [[0]]
    assert len(task.queries) == 4, "what the ground truth ignores is not embedded"
    assert task.queries.file(3) == tmp_path / "test/0/0/3/003bbbbbbbbbbbbb.jpg"
    assert (task.rules.average, task.rules.cutoff) == ("first", 100)
    assert task.train is not None and task.train.labels.tolist() == [17, 17, 203093]


def test_gldv2_needs_no_training_set_and_takes_the_lists_at_the_root(tmp_path: Path) -> None:
    trees.gldv2(tmp_path, train=False)
    for file in ("index/index.csv", "test/retrieval_solution_v2.1.csv"):
        (tmp_path / file).rename(tmp_path / Path(file).name)
    task = open_task("gldv2", tmp_path)
    assert task.train is None
    with pytest.raises(DatasetError, match="gldv2 has no list of training pictures"):
        task.training((4, 4))


def test_revisited_difficulties(tmp_path: Path) -> None:
    task = open_task("roxford5k", trees.revisited(tmp_path))
    assert [truth.name for truth in task.truths] == ["E", "M", "H"]
    assert [_relevant(task, i) for i in range(3)] == [[[0], [4]], [[0, 2, 3], [4]], [[2, 3], []]]
    assert [_ignored(task, i) for i in range(3)] == [[[1, 2, 3], []], [[1], []], [[0, 1], [4]]]
    assert (task.rules.average, task.rules.precision_at) == ("trapezoid", (1, 5, 10))


def test_revisited_queries_are_cropped_and_the_gallery_is_not(tmp_path: Path) -> None:
    task = open_task("rparis6k", trees.rparis6k(tmp_path))
    whole = task.gallery.open(0)
    assert whole.shape == (7, 9, 3)
    assert task.queries.open(0).shape == (4, 6, 3)
    unboxed = type(task.queries)(task.queries.root, task.queries.names).open(0)
    np.testing.assert_array_equal(task.queries.open(0), unboxed[2:6, 1:7])


def test_inshop(tmp_path: Path) -> None:
    task = open_task("inshop", trees.inshop(tmp_path))
    assert _relevant(task) == [[0], [2]]
    assert {count.what: count.found for count in task.counts} == {
        "training pictures": 3,
        "training items": 2,
        "queries": 2,
        "gallery pictures": 3,
    }
    assert task.rules.recall_at == (1, 2, 4, 8, 10, 20, 30, 40, 50)


def test_inshop_with_everything_at_the_root(tmp_path: Path) -> None:
    trees.inshop(tmp_path)
    (tmp_path / "Img" / "img").rename(tmp_path / "img")
    (tmp_path / "Eval" / "list_eval_partition.txt").rename(tmp_path / "list_eval_partition.txt")
    assert _relevant(open_task("inshop", tmp_path)) == [[0], [2]]


def test_veri776_leaves_out_the_vehicle_on_its_own_camera(tmp_path: Path) -> None:
    task = open_task("veri776", trees.veri776(tmp_path))
    assert _relevant(task) == [[2], []]
    assert _ignored(task) == [[0, 1], [3]]
    assert task.counts[-1].what == "cameras" and task.counts[-1].found == 4


@pytest.mark.parametrize(("name", "relevant"), [("sop", [[2], [], [0], []]), ("cub200", [[1], [0], [], []])])
def test_every_test_picture_is_a_query_against_the_others(
    name: str, relevant: list[list[int]], tmp_path: Path
) -> None:
    task = open_task(name, trees.TREES[name](tmp_path))
    assert _relevant(task) == relevant
    assert _ignored(task) == [[i] for i in range(len(task.gallery))]
    assert task.queries is task.gallery


@pytest.mark.parametrize("name", [name for name in trees.TREES if name not in ("roxford5k", "rparis6k")])
def test_training_pictures_are_a_training_source(name: str, tmp_path: Path) -> None:
    task = open_task(name, trees.TREES[name](tmp_path))
    source = task.training((6, 5))
    assert task.train is not None
    assert (source.size, source.classes) == (len(task.train.labels), len(set(task.train.labels.tolist())))
    pixels, labels = source.batch(seed=1, step=0, count=2)
    again, _ = source.batch(seed=1, step=0, count=2)
    assert pixels.shape == (2, 3, 6, 5) and (pixels == again).all()
    assert pixels.min() >= 0 and 1 < pixels.max() <= 255
    assert set(labels.tolist()) <= set(range(source.classes))
    assert source.calibration(2).shape == (2, 6, 5, 3)


def test_missing_training_pictures_matter_only_to_training(tmp_path: Path) -> None:
    shutil.rmtree(trees.veri776(tmp_path) / "image_train")
    task = open_task("veri776", tmp_path)
    with pytest.raises(
        DatasetError, match=r"2 of 2 veri776 training pictures are missing below .*image_train"
    ):
        task.training((4, 4))


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="roxford5k"):
        open_task("oxford", tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        open_task("sop", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cub200", "images.txt"),
        ("cub200", "image_class_labels.txt"),
        ("cub200", "images"),
        ("gldv2", "index/index.csv"),
        ("gldv2", "test/retrieval_solution_v2.1.csv"),
        ("inshop", "Eval/list_eval_partition.txt"),
        ("inshop", "Img/img"),
        ("roxford5k", "gnd_roxford5k.pkl"),
        ("rparis6k", "jpg"),
        ("sop", "Ebay_train.txt"),
        ("sop", "Ebay_test.txt"),
        ("veri776", "name_query.txt"),
        ("veri776", "name_test.txt"),
        ("veri776", "name_train.txt"),
    ],
)
def test_a_missing_part_is_named_with_its_place(name: str, file: str, tmp_path: Path) -> None:
    gone = trees.TREES[name](tmp_path) / file
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(DatasetError) as caught:
        open_task(name, tmp_path)
    assert str(gone) in str(caught.value)


@pytest.mark.parametrize("name", trees.TREES)
@pytest.mark.parametrize("part", ["queries", "gallery"])
def test_a_missing_picture_is_named(name: str, part: str, tmp_path: Path) -> None:
    pictures = getattr(open_task(name, trees.TREES[name](tmp_path)), part)
    pictures.file(len(pictures) - 1).unlink()
    with pytest.raises(DatasetError) as caught:
        open_task(name, tmp_path)
    assert pictures.names[-1] in str(caught.value) and str(pictures.root) in str(caught.value)
    assert f"1 of {len(pictures)}" in str(caught.value)
