"""Training on picture files, augmented as the recipe says."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prunnet.data.augment import Augment
from prunnet.data.folders.scan import check_damaged
from prunnet.data.folders.walk import LeftOut
from prunnet.data.held_out import held_out_rows
from prunnet.data.pictures import Into, Pictures, resize
from prunnet.data.source import RetrievalSet, rows_of_step, step_generator
from prunnet.errors import DatasetError
from prunnet.tensors import as_batch
from runtime_py.arrays import Pixels
from runtime_py.errors import PictureError
from runtime_py.framing import Framing


class PictureTraining:
    """A `TrainingSource` of picture files.

    A picture that cannot be decoded is replaced by the next one of its class, with a warning. Which one that is
    follows from the files alone, so a resumed run sees what it would have seen.

    Args:
        pictures: What to train on.
        labels: The class of each; any whole numbers, they are renumbered from 0.
        into: The encoder's framing, or (height, width) to stretch to.
        augment: What is done to each picture.
    """

    def __init__(
        self,
        pictures: Pictures,
        labels: Sequence[int] | npt.NDArray[np.int64],
        into: Into,
        augment: Augment | None = None,
    ) -> None:
        known, numbers = np.unique(np.asarray(labels, np.int64), return_inverse=True)
        self._pictures, self._framing = pictures, Framing.of(into)
        self._augment = augment or Augment()
        self._labels = torch.from_numpy(numbers)
        self.classes, self.size = len(known), len(pictures)
        self._damaged: dict[int, LeftOut] = {}
        self._lock = threading.Lock()

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the crops and labels of one step; see `TrainingSource`."""
        rows = rows_of_step(self.size, seed, step, count)
        draws = self._augment.draws(len(rows), step_generator(seed, step))
        with ThreadPoolExecutor() as pool:
            crops = list(pool.map(self._crop, rows.tolist(), draws))
        pixels = as_batch(torch.from_numpy(np.stack(crops)))
        return pixels, self._labels[torch.from_numpy(rows)]

    def _crop(self, number: int, draw: npt.NDArray[np.float64]) -> Pixels:
        return self._augment.apply(self._open(number), self._framing, draw)

    def calibration(self, count: int) -> Pixels:
        """Return fixed pictures without augmentation; see `TrainingSource`."""
        rows = np.random.default_rng(0).permutation(self.size)[:count].tolist()
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(self._whole, rows)))

    def hold_out(self, share: float, pictures: int, seed: int) -> tuple[PictureTraining, RetrievalSet]:
        """Keep classes back; see `prunnet.data.held_out.DivisibleSource`. Damaged pictures are left out of them."""
        labels = self._labels.numpy()
        kept, held = held_out_rows(labels, share, pictures, seed)
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(self._readable, held.tolist()))
        rows = [row for row, picture in zip(held, found, strict=True) if picture is not None]
        source = PictureTraining(self._pictures.some(kept), labels[kept], self._framing, self._augment)
        images = [picture for picture in found if picture is not None]
        return source, RetrievalSet(
            np.stack(images) if images else np.empty((0, *self._framing.size, 3), np.uint8), labels[rows]
        )

    def _readable(self, number: int) -> Pixels | None:
        """Read one picture; None where it is damaged, which is noted."""
        try:
            return resize(self._pictures.open(number), self._framing)
        except DatasetError as error:
            self._note(number, error)
            return None

    def _whole(self, number: int) -> Pixels:
        return resize(self._open(number), self._framing)

    def _open(self, number: int) -> Pixels:
        """Read one picture, or the next readable one of its class.

        Raises:
            DatasetError: Nothing of the class can be read, or too much of the whole cannot.
        """
        if number not in self._damaged:
            try:
                return self._pictures.open(number)
            except DatasetError as error:
                self._note(number, error)
        of_class = np.flatnonzero(self._labels.numpy() == int(self._labels[number]))
        following = np.roll(of_class, -1 - int(np.searchsorted(of_class, number)))
        for other in following[:-1].tolist():
            if other in self._damaged:
                continue
            try:
                return self._pictures.open(other)
            except DatasetError as error:
                self._note(other, error)
        raise DatasetError(
            f"{self._pictures.file(number)} and every other picture of its class cannot be read; replace them"
        )

    def _note(self, number: int, error: DatasetError) -> None:
        """Remember a damaged picture; a disk that does not answer is an error, not a damaged picture."""
        cause = error.__cause__
        if not isinstance(cause, PictureError) or cause.kind in ("unreadable", "box"):
            raise error
        with self._lock:
            if number in self._damaged:
                return
            self._damaged[number] = LeftOut(self._pictures.names[number], cause.kind, cause.problem)
            check_damaged(list(self._damaged.values()), self.size - len(self._damaged), self._pictures.root)
        warnings.warn(f"{error} (until then the next picture of its class takes its place)", stacklevel=3)
