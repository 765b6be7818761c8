"""Parity pictures: fixed synthetic pictures on which a wrong input shows at once.

Photos of one subject may all have the same colours, so that swapped channels or a wrong mean leave their
embeddings nearly where they were. These pictures are saturated, asymmetric and fine: made by code, the same bytes
on every machine, at the encoder's input size. Every bundle keeps them with the embeddings of its dense encoder and
its subnetwork (`runtime_py.bundle.probes.Probes`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Pixels

_Grid = npt.NDArray[np.int64]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
CYAN, MAGENTA, YELLOW = (0, 255, 255), (255, 0, 255), (255, 255, 0)

_LETTER = ("#####", "#....", "###..", "#....", "#....")
"""An F: no turn, mirror or transposition maps it to itself."""


def _halves(
    left: tuple[int, int, int], right: tuple[int, int, int]
) -> Callable[[_Grid, _Grid, int, int], Pixels]:
    """Two colours, the left one on a third of the width: an edge that mirroring moves."""
    return lambda y, x, height, width: _paint(3 * x < width, left, right)


def _quadrants(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
    top = _paint(2 * x < width, RED, GREEN)
    bottom = _paint(2 * x < width, BLUE, YELLOW)
    return np.where((2 * y < height)[..., None], top, bottom)


def _letter(
    ink: tuple[int, int, int], paper: tuple[int, int, int]
) -> Callable[[_Grid, _Grid, int, int], Pixels]:
    """The letter in the upper left three quarters of the picture."""

    def draw(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
        drawn = np.array([[mark == "#" for mark in row] for row in _LETTER])
        row, column = 20 * y // (3 * height), 20 * x // (3 * width)
        inside = (row < len(drawn)) & (column < len(drawn))
        return _paint(inside & drawn[np.minimum(row, 4), np.minimum(column, 4)], ink, paper)

    return draw


def _gradient(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
    """Red grows to the right, green downwards, blue falls to the right."""
    right, down = 255 * x // max(width - 1, 1), 255 * y // max(height - 1, 1)
    return np.stack([right, down, 255 - right], axis=-1).astype(np.uint8)


def _grey_ramp(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
    """Black at the upper left to white at the lower right."""
    level = 255 * (2 * x + y) // max(2 * (width - 1) + height - 1, 1)
    return np.repeat(level[..., None], 3, axis=-1).astype(np.uint8)


def _grey(level: int) -> Callable[[_Grid, _Grid, int, int], Pixels]:
    """One grey with a slightly lighter letter: what the mean and the range of the pixels move."""
    return _letter((level + 24,) * 3, (level,) * 3)


def _stripes(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
    """Lines of one pixel, black and yellow: what a second resize blurs."""
    return _paint(x % 2 == 0, BLACK, YELLOW)


def _lines(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
    return _paint(y % 4 < 2, MAGENTA, GREEN)


def _squares(y: _Grid, x: _Grid, height: int, width: int) -> Pixels:
    """Red, blue and yellow on a grey of about their brightness: little but the colour tells them from it."""
    picture = np.full((height, width, 3), 128, np.uint8)
    row, column = 12 * y // height, 12 * x // width
    for top, left, colour in ((2, 2, RED), (7, 7, BLUE), (2, 7, YELLOW)):
        picture[(row >= top) & (row < top + 3) & (column >= left) & (column < left + 3)] = colour
    return picture


_DRAWN: dict[str, Callable[[_Grid, _Grid, int, int], Pixels]] = {
    "red and blue": _halves(RED, BLUE),
    "green and magenta": _halves(GREEN, MAGENTA),
    "cyan and yellow": _halves(CYAN, YELLOW),
    "black and white": _halves(BLACK, WHITE),
    "quadrants": _quadrants,
    "red letter": _letter(RED, CYAN),
    "blue letter": _letter(BLUE, YELLOW),
    "red on dark blue": _letter((200, 0, 0), (0, 0, 120)),
    "squares on grey": _squares,
    "white letter": _letter(WHITE, BLACK),
    "black letter": _letter(BLACK, WHITE),
    "colour gradient": _gradient,
    "grey ramp": _grey_ramp,
    "dark grey": _grey(40),
    "middle grey": _grey(116),
    "light grey": _grey(210),
    "upright stripes": _stripes,
    "level lines": _lines,
}

NAMES = tuple(_DRAWN)
"""What each picture shows, in the order of `parity_pictures`."""


def name_of(index: int) -> str:
    """Say what a parity picture shows; one that another version drew has its number alone."""
    return NAMES[index] if index < len(NAMES) else f"picture {index}"


def parity_pictures(height: int, width: int) -> Pixels:
    """Draw the pictures.

    Args:
        height: Rows of the encoder's input, pixels, 1 or more.
        width: Columns.

    Returns:
        uint8 [18, height, width, 3], RGB, in the order of `NAMES`.
    """
    y, x = np.mgrid[:height, :width]
    return np.stack([draw(y, x, height, width) for draw in _DRAWN.values()]).astype(np.uint8)


def _paint(where: npt.NDArray[np.bool_], ink: tuple[int, ...], paper: tuple[int, ...]) -> Pixels:
    return np.where(where[..., None], np.array(ink, np.uint8), np.array(paper, np.uint8))
