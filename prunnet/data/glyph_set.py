"""Glyphs as a data set: camera-like views of rendered characters; train and test characters are disjoint."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from prunnet.data.data_set import DataSet
from prunnet.data.glyphs import Glyphs, load_glyphs
from prunnet.data.held_out import held_out_rows
from prunnet.data.source import RetrievalSet, rows_of_step, step_generator
from prunnet.data.views import camera_views
from runtime_py.arrays import Labels, Pixels
from runtime_py.picture_files import resize

_TEST_SEED, _CALIBRATION_SEED, _HELD_OUT_SEED, _ORIGINAL_SEED = 1_000_003, 1_000_033, 1_000_037, 1_000_039
_ORIGINAL = (240, 320)
"""(height, width) of a view in its original size, pixels."""
_CHUNK = 512


class GlyphTraining:
    """Training views of the train characters.

    Args:
        glyphs: All glyphs.
        rows: The train items.
        size: Height and width of a view, pixels.
    """

    def __init__(self, glyphs: Glyphs, rows: Labels, size: int) -> None:
        self._glyphs, self._rows = glyphs, rows
        self._pictures = torch.from_numpy(glyphs.pictures[rows])
        known, labels = np.unique(glyphs.classes[rows], return_inverse=True)
        self._labels = torch.from_numpy(labels)
        self._size = size
        self.classes, self.size = len(known), len(rows)

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the views and labels of one step; see `TrainingSource`."""
        rows = torch.from_numpy(rows_of_step(self.size, seed, step, count))
        return camera_views(self._pictures[rows], step_generator(seed, step), self._size), self._labels[rows]

    def calibration(self, count: int) -> Pixels:
        """Return fixed views of fixed train items; see `TrainingSource`. A view is what a camera gives."""
        rows = np.random.default_rng(_CALIBRATION_SEED).permutation(self.size)[:count]
        return fixed_views(self._pictures[torch.from_numpy(rows)], _CALIBRATION_SEED, self._size)

    def hold_out(self, share: float, pictures: int, seed: int) -> tuple[GlyphTraining, RetrievalSet]:
        """Keep classes back; see `prunnet.data.held_out.DivisibleSource`. Each picture is one fixed view."""
        labels = self._labels.numpy()
        kept, held = held_out_rows(labels, share, pictures, seed)
        views = fixed_views(self._pictures[torch.from_numpy(held)], _HELD_OUT_SEED, self._size)
        return GlyphTraining(self._glyphs, self._rows[kept], self._size), RetrievalSet(views, labels[held])


def fixed_views(pictures: Tensor, seed: int, size: int) -> Pixels:
    """Return one view of each picture, always the same: uint8 [N, size, size, 3]."""
    parts = [
        camera_views(part, step_generator(seed, number), size)
        for number, part in enumerate(torch.split(pictures, _CHUNK))
    ]
    return torch.cat(parts).permute(0, 2, 3, 1).byte().numpy()


def _photograph(picture: Tensor, number: int) -> Pixels:
    """Return a view of one picture as a camera would store it: uint8 [240, 320, 3]."""
    view = camera_views(picture, step_generator(_ORIGINAL_SEED, number), _ORIGINAL[1])
    return resize(view[0].permute(1, 2, 0).byte().numpy(), _ORIGINAL)


def glyph_set(size: int) -> DataSet:
    """Return glyphs for square inputs of `size` pixels: one view of every held-out item is the test."""
    glyphs = load_glyphs()
    train, test = glyphs.split()
    views = fixed_views(torch.from_numpy(glyphs.pictures[test]), _TEST_SEED, size)

    def larger(number: int) -> Pixels:
        return _photograph(torch.from_numpy(glyphs.pictures[test[number : number + 1]]), number)

    source = GlyphTraining(glyphs, train, size)
    test_set = RetrievalSet(views, glyphs.classes[test], open_original=larger)
    tested = f"{len(views):,} of {len(np.unique(test_set.labels)):,} others to measure on"
    notes = f"glyphs: {source.size:,} pictures of {source.classes:,} characters to train on, {tested}"
    return DataSet(source, test_set, "glyphs", (notes,))
