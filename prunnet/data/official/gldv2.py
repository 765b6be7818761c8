"""Google Landmarks v2, retrieval: `index/`, `test/`, `train/` with pictures at `a/b/c/ID.jpg`, and the csv files.

Source: Weyand et al., "Google Landmarks Dataset v2" (CVPR 2020), ground truth v2.1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prunnet.data.official.lists import find, integer, rows, wrong
from prunnet.data.official.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.official.truth import ListTruth
from prunnet.data.pictures import Pictures
from prunnet.errors import DatasetError
from runtime_py.arrays import Labels

_SOLUTION = "retrieval_solution_v2.1.csv"
_SPLITS = {"Private": "private", "Public": "public"}
_UNUSED = "Ignored"


def open_gldv2(root: Path) -> RetrievalTask:
    """Open GLDv2 retrieval. Raises DatasetError; see `open_task`."""
    index = _index(root)
    number = {name: i for i, name in enumerate(index)}
    solution = find(root, [f"test/{_SOLUTION}", _SOLUTION], "the ground truth")
    names: list[str] = []
    relevant: list[Labels] = []
    splits: dict[str, list[int]] = {split: [] for split in _SPLITS.values()}
    for line, (query, images, usage) in rows(solution, ("id", "images", "Usage"), separator=",", header=True):
        if usage == _UNUSED:
            continue
        if usage not in _SPLITS:
            raise wrong(solution, line, f"Usage is none of {', '.join(_SPLITS)}, {_UNUSED}", usage)
        right = images.split()
        unknown = [image for image in right if image not in number]
        if unknown:
            raise wrong(solution, line, "a picture that is right is not listed in index.csv", unknown[0])
        splits[_SPLITS[usage]].append(len(names))
        names.append(_path(query, solution, line))
        relevant.append(np.array([number[image] for image in right], np.int64))
    if not names:
        raise DatasetError(f"{solution} lists no Private or Public query; replace it")
    train = _train(root)
    counts = [
        Count("index pictures", 761_757, len(index)),
        Count("private queries", 750, len(splits["private"])),
        Count("public queries", 390, len(splits["public"])),
    ]
    if train is not None:
        counts.append(Count("clean training pictures", 1_580_470, len(train.pictures)))
    gallery = Pictures(find(root, ["index"], "the folder of index pictures"), tuple(index.values()))
    queries = Pictures(find(root, ["test"], "the folder of test pictures"), tuple(names))
    return RetrievalTask(
        "gldv2",
        queries=queries.require("gldv2 test"),
        gallery=gallery.require("gldv2 index"),
        truths=tuple(
            ListTruth(split, np.array(asked, np.int64), tuple(relevant), None, len(index))
            for split, asked in splits.items()
            if asked
        ),
        rules=Rules("first", cutoff=100),
        train=train,
        counts=tuple(counts),
    )


def _path(image: str, file: Path, line: int) -> str:
    if len(image) < 3 or not image.isalnum():
        raise wrong(file, line, "not the id of a picture", image)
    return f"{image[0]}/{image[1]}/{image[2]}/{image}.jpg"


def _index(root: Path) -> dict[str, str]:
    file = find(root, ["index/index.csv", "index.csv"], "the list of index pictures")
    paths: dict[str, str] = {}
    for line, (image,) in rows(file, ("id",), separator=",", header=True):
        if image in paths:
            raise wrong(file, line, "a picture is listed twice", image)
        paths[image] = _path(image, file, line)
    return paths


def _train(root: Path) -> Labelled | None:
    """Return the clean training set, or None: it is not needed to evaluate, and large."""
    places = [root / "train" / "train_clean.csv", root / "train_clean.csv"]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None
    names: list[str] = []
    labels: list[int] = []
    for line, (landmark, images) in rows(file, ("landmark_id", "images"), separator=",", header=True):
        found = [_path(image, file, line) for image in images.split()]
        names += found
        labels += [integer(landmark, file, line)] * len(found)
    return Labelled(Pictures(root / "train", tuple(names)), np.array(labels, np.int64))
