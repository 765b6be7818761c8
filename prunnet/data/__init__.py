"""Data sets: the built-in glyphs, the user's own pictures, and the official benchmarks."""

from __future__ import annotations

from pathlib import Path

from prunnet.data.augment import Augment
from prunnet.data.data_set import DataSet
from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.errors import DatasetError
from runtime_py.framing import Framing, Into, Resize

__all__ = ["Augment", "DataSet", "RetrievalSet", "TrainingSource", "open_data", "open_test_pictures"]


def open_data(name: str, path: str | None, into: Into, augment: Augment | None = None) -> DataSet:
    """Open a data set for one input size.

    Args:
        name: "glyphs", "folder", or an official benchmark (`prunnet.data.official`).
        path: Root of the folder, or of the benchmark's unpacked archive; None for glyphs.
        into: The encoder's framing, or (height, width) to stretch to.
        augment: What training does to pictures; None is `Augment()`. Glyphs have camera views of their own.

    Raises:
        UnknownNameError: No such data set.
        DatasetError: The pictures are not where the layout demands, the benchmark has no training pictures, or
            glyphs are asked for in a size not square, with a resize or with `augment`; there are fewer than two
            classes to train on.
    """
    if name == "glyphs":
        from prunnet.data.glyph_set import glyph_set

        framing = Framing.of(into)
        if framing.height != framing.width:
            raise DatasetError(
                f"glyphs are square, the input is {framing.height} x {framing.width}; make both alike"
            )
        if framing.resize != Resize():
            raise DatasetError(
                "glyphs are drawn at the size of the input and never resized; encoder.resize goes with pictures"
            )
        if augment is not None:
            raise DatasetError(
                "glyphs are seen through camera views of their own; data.augment goes with pictures"
            )
        return glyph_set(framing.height)
    if name != "folder":
        from prunnet.data.official import open_task

        if path is None:
            raise DatasetError(
                f"{name} needs the folder of its unpacked archive: prunnet-train --data ROOT, or data.path in the "
                "recipe; docs/reference/datasets.md shows the layout"
            )
        task = open_task(name, path)
        train = task.training(into, augment)
        differences = [f"  {d.found:,} {d.what}, {d.official:,} officially" for d in task.differences]
        counts = f"{name}: {train.size:,} training pictures of {train.classes:,} classes"
        tested = f"{len(task.queries):,} queries, {len(task.gallery):,} gallery pictures"
        return DataSet(train, task, name, (f"{counts}; {tested}", *differences))
    from prunnet.data.folder_set import folder_set

    if path is None:
        raise DatasetError("the data set 'folder' needs a path: ROOT with train/CLASS/* and test/CLASS/*")
    return folder_set(Path(path), into, augment)


def open_test_pictures(name: str, into: Into) -> RetrievalSet:
    """Open the pictures to test on, without those to train on.

    Args:
        name: "glyphs", or a folder with `test/CLASS/*`.
        into: The encoder's framing, or (height, width) to stretch to.

    Raises:
        DatasetError: As `open_data`.
    """
    if name == "glyphs":
        test = open_data("glyphs", None, into).test
        assert isinstance(test, RetrievalSet)
        return test
    from prunnet.data.folder_set import folder_test_pictures

    return folder_test_pictures(Path(name) / "test", into)
