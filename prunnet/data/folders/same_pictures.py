"""Finding the same picture twice: equal files among all, and pictures that look equal among some."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prunnet.data.folders.scan import Scan
from runtime_py.errors import PictureError
from runtime_py.picture_files import thumbnail

LOOKED_AT = 2_000
"""Pictures of each side that are decoded to be compared; more are sampled evenly."""
_SIDE = 16
_NEAR = 5.0
"""Root mean square of the difference of two thumbnails, in levels of 255, below which pictures look the same.
Copies saved as JPEG were seen to differ by 3.5."""
_ENDS = 4096


def equal_files(files: Sequence[Path], sizes: Sequence[int]) -> list[list[int]]:
    """Return groups of two or more files with the same content.

    Only files of equal size are opened, and only those that begin and end alike are read whole.

    Args:
        files: What to compare.
        sizes: Bytes of each.

    Returns:
        Numbers of the files of each group, in their order.
    """
    groups = _grouped(enumerate(sizes))
    for digest in (_ends, _whole):
        parts = []
        with ThreadPoolExecutor() as pool:
            for group in groups:
                parts += _grouped(zip(group, pool.map(digest, (files[n] for n in group)), strict=True))
        groups = parts
    return sorted(groups)


def _grouped(keys: Iterable[tuple[int, Hashable]]) -> list[list[int]]:
    """Return the numbers that have equal keys, two or more of each."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in keys:
        groups.setdefault(key, []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def _ends(file: Path) -> bytes:
    with file.open("rb") as stream:
        start = stream.read(_ENDS)
        stream.seek(max(0, stream.seek(0, 2) - _ENDS))
        return hashlib.blake2b(start + stream.read()).digest()


def _whole(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").digest()


def look_alike(train: Scan, test: Scan) -> list[tuple[int, int]]:
    """Return (test picture, train picture) of pairs that look the same, at most one for each test picture.

    Another file format, quality or size does not hide a copy; a crop does. At most `LOOKED_AT` of each are compared.
    """
    asked, there = (_sample(len(each.names)) for each in (test, train))
    asked, queries = _thumbnails(test, asked)
    there, gallery = _thumbnails(train, there)
    if not asked or not there:
        return []
    squares = (gallery**2).sum(axis=1)
    pairs = []
    for at in range(0, len(asked), 256):
        part = queries[at : at + 256]
        distance = ((part**2).sum(axis=1)[:, None] + squares - 2 * part @ gallery.T) / gallery.shape[1]
        for row, near in enumerate(distance.argmin(axis=1).tolist()):
            if distance[row, near] < _NEAR**2:
                pairs.append((asked[at + row], there[near]))
    return pairs


def _sample(count: int) -> list[int]:
    return [int(n) for n in np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).round())]


def _thumbnails(pictures: Scan, rows: Sequence[int]) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Return the rows that can be decoded, and float64 [N, 768]."""

    def small(number: int) -> npt.NDArray[np.float64] | None:
        try:
            return (
                thumbnail(pictures.folder / pictures.names[number], (_SIDE, _SIDE))
                .reshape(-1)
                .astype(np.float64)
            )
        except PictureError:
            return None

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(small, rows))
    kept = [(row, each) for row, each in zip(rows, made, strict=True) if each is not None]
    return [row for row, _ in kept], np.array([each for _, each in kept])
