"""Training on picture files, augmented by a random crop and flip."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prunnet.data.pictures import Pictures, Pixels, Size, resize
from prunnet.data.source import rows_of_step, step_generator


class PictureTraining:
    """A `TrainingSource` of picture files.

    Args:
        pictures: What to train on.
        labels: The class of each; any whole numbers, they are renumbered from 0.
        size: (height, width) of the crops, pixels.
    """

    def __init__(self, pictures: Pictures, labels: Sequence[int] | npt.NDArray[np.int64], size: Size) -> None:
        known, numbers = np.unique(np.asarray(labels, np.int64), return_inverse=True)
        self._pictures, self._shape = pictures, size
        self._labels = torch.from_numpy(numbers)
        self.classes, self.size = len(known), len(pictures)

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the crops and labels of one step; see `TrainingSource`."""
        rows = rows_of_step(self.size, seed, step, count)
        generator = step_generator(seed, step)
        draws = [torch.rand(4, generator=generator).tolist() for _ in rows]
        with ThreadPoolExecutor() as pool:
            crops = list(pool.map(self._crop, rows.tolist(), draws))
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
        return pixels, self._labels[torch.from_numpy(rows)]

    def _crop(self, number: int, draw: list[float]) -> Pixels:
        area, x, y, flip = draw
        return _random_crop(self._pictures.open(number), self._shape, 0.35 + 0.65 * area, x, y, flip < 0.5)

    def calibration(self, count: int) -> Pixels:
        """Return fixed pictures without augmentation; see `TrainingSource`."""
        return self._pictures.read(np.random.default_rng(0).permutation(self.size)[:count], self._shape)


def _random_crop(pixels: Pixels, size: Size, area: float, x: float, y: float, flip: bool) -> Pixels:
    height, width = (max(1, round(side * area**0.5)) for side in pixels.shape[:2])
    top, left = round(y * (pixels.shape[0] - height)), round(x * (pixels.shape[1] - width))
    crop = resize(pixels[top : top + height, left : left + width], size)
    return crop[:, ::-1] if flip else crop
