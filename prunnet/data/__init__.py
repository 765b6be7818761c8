"""Data sets: the built-in glyphs, and the user's own pictures."""

from __future__ import annotations

from pathlib import Path

from prunnet.data.source import Benchmark, DataSet, TrainingSource
from prunnet.errors import DatasetError

__all__ = ["Benchmark", "DataSet", "TrainingSource", "open_benchmark", "open_data"]


def open_data(name: str, path: str | None, image_size: tuple[int, int]) -> DataSet:
    """Open a data set for one input size.

    Args:
        name: "glyphs" or "folder".
        path: Root of the folder.
        image_size: (height, width), pixels.

    Raises:
        DatasetError: The pictures are not where the layout demands, or glyphs are asked for in a size not square.
    """
    if name == "glyphs":
        from prunnet.data.glyph_set import glyph_set

        if image_size[0] != image_size[1]:
            raise DatasetError(
                f"glyphs are square, the input is {image_size[0]} x {image_size[1]}; make both alike"
            )
        return glyph_set(image_size[0])
    from prunnet.data.folder_set import folder_set

    if path is None:
        raise DatasetError("the data set 'folder' needs a path: ROOT with train/CLASS/* and test/CLASS/*")
    return folder_set(Path(path), image_size)


def open_benchmark(name: str, image_size: tuple[int, int]) -> Benchmark:
    """Open the images to retrieve, without the training images.

    Args:
        name: "glyphs", or a folder with `test/CLASS/*`.
        image_size: (height, width), pixels.

    Raises:
        DatasetError: As `open_data`.
    """
    if name == "glyphs":
        return open_data("glyphs", None, image_size).test
    from prunnet.data.folder_set import folder_benchmark

    return folder_benchmark(Path(name) / "test", image_size)
