"""ROxford5k and RParis6k: `gnd_NAME.pkl` and `jpg/*.jpg`; three difficulties over the same queries.

Source: Radenovic et al., "Revisiting Oxford and Paris" (CVPR 2018).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from prunnet.data.official.lists import find
from prunnet.data.official.plain_pickle import read_plain_pickle
from prunnet.data.official.task import Count, RetrievalTask, Rules
from prunnet.data.official.truth import ListTruth
from prunnet.data.pictures import Box, Pictures
from prunnet.errors import DatasetError
from runtime_py.arrays import Labels

DIFFICULTIES = {
    "E": (("easy",), ("junk", "hard")),
    "M": (("easy", "hard"), ("junk",)),
    "H": (("hard",), ("junk", "easy")),
}
"""Difficulty -> the lists that are right, and those taken out of the ranking."""
_RULES = Rules("trapezoid", precision_at=(1, 5, 10))


def open_roxford5k(root: Path) -> RetrievalTask:
    """Open ROxford5k. Raises DatasetError; see `open_task`."""
    return _open(root, "roxford5k", 4993)


def open_rparis6k(root: Path) -> RetrievalTask:
    """Open RParis6k. Raises DatasetError; see `open_task`."""
    return _open(root, "rparis6k", 6322)


def _open(root: Path, name: str, official: int) -> RetrievalTask:
    file = find(root, [f"gnd_{name}.pkl"], "the ground truth of the revisited protocol")
    folder = find(root, ["jpg"], "the folder of pictures")
    stored = read_plain_pickle(file)
    if not isinstance(stored, dict):
        raise _damaged(file, f"it holds a {type(stored).__name__} instead of imlist, qimlist and gnd")
    gallery, queries = _names(stored, "imlist", file), _names(stored, "qimlist", file)
    judged = stored.get("gnd")
    if not isinstance(judged, list) or len(judged) != len(queries):
        raise _damaged(
            file, f"'gnd' does not hold one entry for each of the {len(queries)} names in 'qimlist'"
        )
    boxes = tuple(_box(entry, number, file) for number, entry in enumerate(judged))
    lists = {
        key: tuple(_items(entry, key, number, len(gallery), file) for number, entry in enumerate(judged))
        for key in ("easy", "hard", "junk")
    }
    truths = tuple(
        ListTruth(
            difficulty,
            np.arange(len(queries)),
            tuple(np.concatenate(parts) for parts in zip(*(lists[key] for key in right), strict=True)),
            tuple(np.concatenate(parts) for parts in zip(*(lists[key] for key in junk), strict=True)),
            len(gallery),
        )
        for difficulty, (right, junk) in DIFFICULTIES.items()
    )
    return RetrievalTask(
        name,
        queries=Pictures(folder, queries, boxes).require(f"{name} query"),
        gallery=Pictures(folder, gallery).require(f"{name} gallery"),
        truths=truths,
        rules=_RULES,
        train=None,
        counts=(Count("queries", 70, len(queries)), Count("gallery pictures", official, len(gallery))),
    )


def _damaged(file: Path, problem: str) -> DatasetError:
    return DatasetError(f"{file}: {problem}; use the official file of the revisited protocol")


def _names(stored: dict[Any, Any], key: str, file: Path) -> tuple[str, ...]:
    names = stored.get(key)
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise _damaged(file, f"{key!r} is not a list of picture names")
    return tuple(f"{name}.jpg" for name in names)


def _box(entry: Any, number: int, file: Path) -> Box:
    box = entry.get("bbx") if isinstance(entry, dict) else None
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_finite(side) for side in box):
        raise _damaged(file, f"query {number} has no box 'bbx' of four numbers")
    left, top, right, bottom = (float(side) for side in box)
    if left >= right or top >= bottom:
        raise _damaged(file, f"query {number} has the empty box {list(box)}")
    return left, top, right, bottom


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _items(entry: Any, key: str, number: int, gallery: int, file: Path) -> Labels:
    items = entry.get(key)
    if not isinstance(items, list | tuple) or not all(_is_item(item, gallery) for item in items):
        raise _damaged(file, f"query {number}: {key!r} is not a list of numbers below {gallery}")
    return np.array([int(item) for item in items], np.int64)


def _is_item(value: object, gallery: int) -> bool:
    # An empty list that went through numpy is one of floats; so may be whole numbers.
    return isinstance(value, int | float) and 0 <= value < gallery and int(value) == value
