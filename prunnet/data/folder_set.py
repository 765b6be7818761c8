"""The user's own pictures: `ROOT/train/CLASS/**` and `ROOT/test/CLASS/**`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from prunnet.data.augment import Augment
from prunnet.data.data_set import DataSet
from prunnet.data.folders.picture_training import PictureTraining
from prunnet.data.folders.same_pictures import LOOKED_AT, equal_files, look_alike
from prunnet.data.folders.scan import Scan, scan
from prunnet.data.source import RetrievalSet
from prunnet.errors import DatasetError
from runtime_py.arrays import Pixels
from runtime_py.errors import PictureError
from runtime_py.picture_files import Into, read_picture


def folder_set(root: Path, into: Into, augment: Augment | None = None) -> DataSet:
    """Return a folder of pictures as a data set, brought to an encoder's input.

    Raises:
        DatasetError: `train` or `test` is missing, a class folder holds no picture, or more pictures are damaged than
            may be left out.
    """
    found = scan(root / "train")
    train = PictureTraining(found.pictures, found.labels, into, augment)
    pictures, tested = _decoded(scan(root / "test"), into)
    shared = sorted(set(found.classes) & set(tested.classes))
    notes = [*found.lines("train"), *tested.lines("test"), *_doubles(found, tested)]
    if shared:
        notes.append(
            f"  {len(shared):,} of {len(tested.classes):,} test classes are also trained on ({_some(shared)}): "
            "the test does not show how unseen classes are found"
        )
    return DataSet(train, pictures, root.resolve().name, tuple(notes), len(shared))


def folder_test_pictures(folder: Path, into: Into) -> RetrievalSet:
    """Return the pictures of `folder/CLASS/**` as images to retrieve.

    Raises:
        DatasetError: As `folder_set`; or all pictures are of one class.
    """
    return _decoded(scan(folder), into)[0]


def _decoded(found: Scan, into: Into) -> tuple[RetrievalSet, Scan]:
    """Decode all pictures; those that turn out to be damaged are left out, too."""

    def read(name: str) -> Pixels | PictureError:
        try:
            return read_picture(found.folder / name, into)
        except PictureError as error:
            return error

    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(read, found.names))
    kept = found.without([(n, each) for n, each in enumerate(decoded) if isinstance(each, PictureError)])
    if len(kept.classes) < 2:
        raise DatasetError(
            f"the {len(kept.names):,} pictures in {found.folder} are all of one class, so every answer is right and "
            "any encoder passes; give at least two test classes"
        )
    images = np.stack([each for each in decoded if not isinstance(each, PictureError)])
    notes = kept.lines("test")
    labels = np.array(kept.labels, np.int64)
    return RetrievalSet(images, labels, tuple(notes), kept.pictures.open), kept


def _doubles(train: Scan, test: Scan) -> list[str]:
    """Say which pictures occur twice: in train and test, within a class, under two classes."""
    border = len(train.names)
    files = [part.folder / name for part in (train, test) for name in part.names]
    classes = [(part.folder.name, label) for part in (train, test) for label in part.labels]
    shown = [f"{part.folder.name}/{name}" for part in (train, test) for name in part.names]
    groups = equal_files(files, [*train.sizes, *test.sizes])
    leaked = {n: group[0] for group in groups for n in group if group[0] < border <= n}
    alike = {border + asked: there for asked, there in look_alike(train, test)}
    lines = []
    if found := leaked | {n: there for n, there in alike.items() if n not in leaked}:
        examples = _some([f"{shown[n]} is {shown[there]}" for n, there in sorted(found.items())])
        lines.append(
            f"  {len(found):,} of {len(test.names):,} test pictures are in train, too: {len(leaked):,} equal files, "
            f"{len(found) - len(leaked):,} that look the same ({examples}); figures on them say nothing about unseen "
            "pictures, remove them from one side"
        )
    if border > LOOKED_AT or len(test.names) > LOOKED_AT:
        lines.append(f"  looks were compared for {LOOKED_AT:,} pictures of each, equal files among all")
    for side, start, end in (("train", 0, border), ("test", border, len(files))):
        inside = [part for group in groups if len(part := [n for n in group if start <= n < end]) > 1]
        mixed = [group for group in inside if len({classes[n] for n in group}) > 1]
        if inside:
            surplus = sum(len(group) - 1 for group in inside)
            examples = _some([f"{shown[group[1]]} is {shown[group[0]]}" for group in chain(mixed, inside)])
            lines.append(
                f"  copies among the pictures of {side}: {surplus:,} ({examples})"
                f"{f'; pictures in several classes: {len(mixed):,}' if mixed else ''}"
            )
    return lines


def _some(items: list[str]) -> str:
    return ", ".join(items[:2]) + (", ..." if len(items) > 2 else "")
