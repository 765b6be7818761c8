"""VeRi-776: `name_query.txt`, `name_test.txt`, `name_train.txt` and their three folders of pictures.

A name says what is on the picture: `0002_c002_00030600_0.jpg` is vehicle 2 on camera 2.
Source: Liu et al., "Large-scale vehicle re-identification in urban surveillance videos" (ICME 2016).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from prunnet.data.official.lists import find, rows, wrong
from prunnet.data.official.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.official.truth import LabelTruth
from prunnet.data.pictures import Pictures
from runtime_py.arrays import Labels

_NAME = re.compile(r"(\d+)_c(\d+)_[^/\\]*")


def open_veri776(root: Path) -> RetrievalTask:
    """Open VeRi-776. Raises DatasetError; see `open_task`."""
    queries, query_labels, query_cameras = _part(root, "query")
    gallery, gallery_labels, gallery_cameras = _part(root, "test")
    train, train_labels, train_cameras = _part(root, "train")
    cameras = np.unique(np.concatenate([query_cameras, gallery_cameras, train_cameras]))
    return RetrievalTask(
        "veri776",
        queries=queries.require("veri776 query"),
        gallery=gallery.require("veri776 test"),
        truths=(
            LabelTruth(
                query_labels, gallery_labels, query_cameras=query_cameras, gallery_cameras=gallery_cameras
            ),
        ),
        rules=Rules(recall_at=(1, 5, 10)),
        train=Labelled(train, train_labels),
        counts=(
            Count("training pictures", 37_778, len(train)),
            Count("queries", 1_678, len(queries)),
            Count("gallery pictures", 11_579, len(gallery)),
            Count("cameras", 20, len(cameras)),
        ),
    )


def _part(root: Path, part: str) -> tuple[Pictures, Labels, Labels]:
    """Return the pictures of one list, and vehicle and camera of each."""
    file = find(root, [f"name_{part}.txt"], f"the list of {part} pictures")
    names: list[str] = []
    read: list[tuple[int, int]] = []
    for line, (name,) in rows(file, ("VEHICLE_cCAMERA_....jpg",)):
        match = _NAME.fullmatch(name)
        if match is None:
            raise wrong(file, line, "a name does not begin with VEHICLE_cCAMERA_, as in 0002_c002_", name)
        names.append(name)
        read.append((int(match[1]), int(match[2])))
    labels, cameras = np.array(read, np.int64).T
    return Pictures(root / f"image_{part}", tuple(names)), labels, cameras
