"""Reading pictures: one reader for training, probes, evaluation and the device's queries (docs/reference/pictures.md).

>>> from runtime_py.picture_files import read_picture
>>> image = read_picture("query.jpg", (224, 224))             # doctest: +SKIP

Pillow is imported when the first picture is read: `pip install 'prunnet[runtime-pictures]'`.
"""

from __future__ import annotations

from runtime_py.arrays import Pixels
from runtime_py.framing import Framing, Into, Resize
from runtime_py.picture_files.header import Facts, inspect_picture
from runtime_py.picture_files.modes import BACKGROUND, rgb
from runtime_py.picture_files.reading import (
    Box,
    open_picture,
    read_image,
    read_picture,
    thumbnail,
)
from runtime_py.picture_files.resizing import resize

__all__ = [
    "BACKGROUND",
    "Box",
    "Facts",
    "Framing",
    "Into",
    "Pixels",
    "Resize",
    "inspect_picture",
    "open_picture",
    "read_image",
    "read_picture",
    "resize",
    "rgb",
    "thumbnail",
]
