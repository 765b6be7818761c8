"""The user's own pictures: `ROOT/train/CLASS/*` and `ROOT/test/CLASS/*`, read with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prunnet.data.source import Benchmark, DataSet, Images, rows_of_step, step_generator
from prunnet.errors import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class FolderTraining:
    """Training pictures of a folder; augmented by a random crop and flip.

    Args:
        folder: `ROOT/train`, one sub-folder for each class.
        size: (height, width) of the crops, pixels.
    """

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._files, labels = list_pictures(folder)
        self._labels = torch.tensor(labels)
        self._size = size
        self.classes, self.size = max(labels) + 1, len(self._files)

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the crops and labels of one step; see `TrainingSource`."""
        rows = rows_of_step(self.size, seed, step, count)
        generator = step_generator(seed, step)
        crops = []
        for row in rows:
            area, x, y, flip = torch.rand(4, generator=generator).tolist()
            crops.append(_random_crop(self._files[int(row)], self._size, 0.35 + 0.65 * area, x, y, flip < 0.5))
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
        return pixels, self._labels[torch.from_numpy(rows)]

    def calibration(self, count: int) -> Images:
        """Return fixed pictures without augmentation; see `TrainingSource`."""
        rows = np.random.default_rng(0).permutation(self.size)[:count]
        return np.stack([read_picture(self._files[int(row)], self._size) for row in rows])


def list_pictures(folder: Path) -> tuple[list[Path], list[int]]:
    """List the pictures of `folder/CLASS/`, classes and files in the order of their names.

    Returns:
        The files, and the class number of each.

    Raises:
        DatasetError: No folder, no class, or a class without a picture.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing; pictures are expected in {folder}/CLASS/*.jpg")
    classes = sorted(d for d in folder.iterdir() if d.is_dir())
    if not classes:
        raise DatasetError(f"{folder} holds no class folder; pictures are expected in {folder}/CLASS/*.jpg")
    pictures, labels = [], []
    for number, name in enumerate(classes):
        found = sorted(f for f in name.iterdir() if f.suffix.lower() in SUFFIXES)
        if not found:
            raise DatasetError(f"{name} holds no picture ({', '.join(SUFFIXES)}); remove the folder or fill it")
        pictures += found
        labels += [number] * len(found)
    return pictures, labels


def _open(file: Path) -> Images:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{file} is not a readable picture: {error}; replace or remove it") from error


def read_picture(file: Path, size: tuple[int, int]) -> Images:
    """Read a picture, upright, and resize it whole (bilinear): uint8 [height, width, 3], RGB.

    Raises:
        DatasetError: Not a readable picture.
    """
    return _resize(_open(file), size)


def _resize(pixels: Images, size: tuple[int, int]) -> Images:
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _random_crop(file: Path, size: tuple[int, int], area: float, x: float, y: float, flip: bool) -> Images:
    pixels = _open(file)
    height, width = (max(1, round(side * area**0.5)) for side in pixels.shape[:2])
    top, left = round(y * (pixels.shape[0] - height)), round(x * (pixels.shape[1] - width))
    crop = _resize(pixels[top : top + height, left : left + width], size)
    return crop[:, ::-1] if flip else crop


def folder_set(root: Path, size: tuple[int, int]) -> DataSet:
    """Return a folder of pictures as a data set.

    Raises:
        DatasetError: `train` or `test` is missing or holds no pictures.
    """
    train = FolderTraining(root / "train", size)
    return DataSet(train, folder_benchmark(root / "test", size), root.name)


def folder_benchmark(folder: Path, size: tuple[int, int]) -> Benchmark:
    """Return the pictures of `folder/CLASS/` as images to retrieve.

    Raises:
        DatasetError: As `list_pictures`, or a file is not a readable picture.
    """
    files, labels = list_pictures(folder)
    images = np.stack([read_picture(file, size) for file in files])
    return Benchmark(images, np.array(labels, dtype=np.int64))
