"""DeepFashion In-shop: `list_eval_partition.txt` and `img/`.

Source: Liu et al., "DeepFashion" (CVPR 2016).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prunnet.data.official.lists import find, rows, wrong
from prunnet.data.official.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.official.truth import LabelTruth
from prunnet.data.pictures import Pictures
from prunnet.errors import DatasetError

_PARTS = ("train", "query", "gallery")
_RECALL_AT = (1, 2, 4, 8, 10, 20, 30, 40, 50)


def open_inshop(root: Path) -> RetrievalTask:
    """Open In-shop Clothes Retrieval. Raises DatasetError; see `open_task`."""
    name = "list_eval_partition.txt"
    file = find(root, [f"Eval/{name}", name], "the list of the evaluation partition")
    pictures = find(root, ["Img/img", "img"], "the folder of pictures").parent
    names: dict[str, list[str]] = {part: [] for part in _PARTS}
    labels: dict[str, list[int]] = {part: [] for part in _PARTS}
    items: dict[str, int] = {}
    columns = ("image_name", "item_id", "evaluation_status")
    for line, (image, item, part) in rows(file, columns, header=True, skip=1):
        if part not in _PARTS:
            raise wrong(file, line, f"evaluation_status is none of {', '.join(_PARTS)}", part)
        names[part].append(image)
        labels[part].append(items.setdefault(item, len(items)))
    _check_total(file, sum(len(found) for found in names.values()))
    for part in _PARTS:
        if not names[part]:
            raise DatasetError(f"{file} lists no {part} picture; replace it by the official list")
    numbers = {part: np.array(found, np.int64) for part, found in labels.items()}
    lists = {part: Pictures(pictures, tuple(found)) for part, found in names.items()}
    return RetrievalTask(
        "inshop",
        queries=lists["query"].require("inshop query"),
        gallery=lists["gallery"].require("inshop gallery"),
        truths=(LabelTruth(numbers["query"], numbers["gallery"]),),
        rules=Rules(recall_at=_RECALL_AT),
        train=Labelled(lists["train"], numbers["train"]),
        counts=(
            Count("training pictures", 25_882, len(lists["train"])),
            Count("training items", 3_997, len(set(labels["train"]))),
            Count("queries", 14_218, len(lists["query"])),
            Count("gallery pictures", 12_612, len(lists["gallery"])),
        ),
    )


def _check_total(file: Path, listed: int) -> None:
    """The first line says how many follow: a list that was cut off is seen by it."""
    with file.open(encoding="utf-8") as text:
        stated = text.readline().strip()
    if stated != str(listed):
        raise wrong(file, 1, f"expected {listed}, the number of pictures that follow", stated)
