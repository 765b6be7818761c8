"""The user's own pictures: `ROOT/train/CLASS/*` and `ROOT/test/CLASS/*`, read with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prunnet.data.picture_training import PictureTraining
from prunnet.data.pictures import SUFFIXES, Pictures
from prunnet.data.source import Benchmark, DataSet
from prunnet.errors import DatasetError


def list_pictures(folder: Path) -> tuple[Pictures, list[int]]:
    """List the pictures of `folder/CLASS/`, classes and files in the order of their names.

    Returns:
        The pictures, and the class number of each.

    Raises:
        DatasetError: No folder, no class, or a class without a picture.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing; pictures are expected in {folder}/CLASS/*.jpg")
    classes = sorted(d for d in folder.iterdir() if d.is_dir())
    if not classes:
        raise DatasetError(f"{folder} holds no class folder; pictures are expected in {folder}/CLASS/*.jpg")
    names, labels = [], []
    for number, name in enumerate(classes):
        found = sorted(f for f in name.iterdir() if f.suffix.lower() in SUFFIXES)
        if not found:
            raise DatasetError(
                f"{name} holds no picture ({', '.join(SUFFIXES)}); remove the folder or fill it"
            )
        names += [f"{name.name}/{file.name}" for file in found]
        labels += [number] * len(found)
    return Pictures(folder, tuple(names)), labels


def folder_set(root: Path, size: tuple[int, int]) -> DataSet:
    """Return a folder of pictures as a data set.

    Raises:
        DatasetError: `train` or `test` is missing or holds no pictures.
    """
    pictures, labels = list_pictures(root / "train")
    train = PictureTraining(pictures, labels, size)
    return DataSet(train, folder_benchmark(root / "test", size), root.name)


def folder_benchmark(folder: Path, size: tuple[int, int]) -> Benchmark:
    """Return the pictures of `folder/CLASS/` as images to retrieve.

    Raises:
        DatasetError: As `list_pictures`, or a file is not a readable picture.
    """
    pictures, labels = list_pictures(folder)
    return Benchmark(pictures.read(range(len(pictures)), size), np.array(labels, dtype=np.int64))
