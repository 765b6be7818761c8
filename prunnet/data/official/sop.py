"""Stanford Online Products: `Ebay_train.txt`, `Ebay_test.txt` and the folders `*_final/`.

Source: Song et al., "Deep metric learning via lifted structured feature embedding" (CVPR 2016).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prunnet.data.official.lists import find, integer, rows
from prunnet.data.official.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.official.truth import LabelTruth
from prunnet.data.pictures import Pictures

_COLUMNS = ("image_id", "class_id", "super_class_id", "path")


def open_sop(root: Path) -> RetrievalTask:
    """Open Stanford Online Products. Raises DatasetError; see `open_task`."""
    train, test = _part(root, "train"), _part(root, "test")
    pictures = test.pictures.require("sop test")
    return RetrievalTask(
        "sop",
        queries=pictures,
        gallery=pictures,
        truths=(LabelTruth(test.labels, test.labels, same_set=True),),
        rules=Rules(recall_at=(1, 10, 100, 1000)),
        train=train,
        counts=(
            Count("training pictures", 59_551, len(train.pictures)),
            Count("test pictures", 60_502, len(pictures)),
        ),
    )


def _part(root: Path, part: str) -> Labelled:
    file = find(root, [f"Ebay_{part}.txt"], f"the list of {part} pictures")
    names: list[str] = []
    labels: list[int] = []
    for line, (_, item, _, path) in rows(file, _COLUMNS, header=True):
        names.append(path)
        labels.append(integer(item, file, line))
    return Labelled(Pictures(root, tuple(names)), np.array(labels, np.int64))
