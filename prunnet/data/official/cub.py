"""CUB-200-2011: `images.txt`, `image_class_labels.txt` and `images/`; birds 1..100 train, the others test.

Source: Wah et al., "The Caltech-UCSD Birds-200-2011 dataset" (2011); the split is that of metric learning.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prunnet.data.official.lists import find, integer, rows, wrong
from prunnet.data.official.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.official.truth import LabelTruth
from prunnet.data.pictures import Pictures
from prunnet.errors import DatasetError

_LAST_TRAIN, _LAST = 100, 200


def open_cub200(root: Path) -> RetrievalTask:
    """Open CUB-200-2011. Raises DatasetError; see `open_task`."""
    images = find(root, ["images.txt"], "the list of pictures")
    classes = find(root, ["image_class_labels.txt"], "the list of classes")
    folder = find(root, ["images"], "the folder of pictures")
    birds = {
        image: _bird(bird, classes, line) for line, (image, bird) in rows(classes, ("image_id", "class_id"))
    }
    names: dict[bool, list[str]] = {True: [], False: []}
    labels: dict[bool, list[int]] = {True: [], False: []}
    for line, (image, name) in rows(images, ("image_id", "image_name")):
        if image not in birds:
            raise wrong(images, line, f"the picture has no class in {classes}", image)
        trains = birds[image] <= _LAST_TRAIN
        names[trains].append(name)
        labels[trains].append(birds[image])
    for trains, wanted in ((True, f"1..{_LAST_TRAIN}"), (False, f"{_LAST_TRAIN + 1}..{_LAST}")):
        if not names[trains]:
            raise DatasetError(f"{images} lists no picture of the classes {wanted}; use the official list")
    test = Pictures(folder, tuple(names[False])).require("cub200 test")
    known = np.array(labels[False], np.int64)
    return RetrievalTask(
        "cub200",
        queries=test,
        gallery=test,
        truths=(LabelTruth(known, known, same_set=True),),
        rules=Rules(recall_at=(1, 2, 4, 8)),
        train=Labelled(Pictures(folder, tuple(names[True])), np.array(labels[True], np.int64)),
        counts=(
            Count("training pictures", 5_864, len(names[True])),
            Count("test pictures", 5_924, len(test)),
        ),
    )


def _bird(text: str, file: Path, line: int) -> int:
    bird = integer(text, file, line)
    if not 1 <= bird <= _LAST:
        raise wrong(file, line, f"a class is not in 1..{_LAST}", text)
    return bird
