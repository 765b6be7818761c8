"""The matrix as a picture: a heat map of every pair, and the curve against dense."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunnet.errors import EvaluationError
from prunnet.evaluate.matrix.result import Matrix
from runtime_py.disk.files import write_atomically

FORMATS = (".pdf", ".png", ".svg")


def check_writable(path: Path) -> None:
    """Refuse a plot that could not be written, before anything is measured.

    Raises:
        EvaluationError: The ending is not known, or the folder is missing or takes no file.
    """
    if path.suffix.lower() not in FORMATS:
        raise EvaluationError(f"{path}: a plot ends in one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise EvaluationError(f"{path} is a folder; name a file in it")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise _refused(path, error) from error


def save_plot(matrix: Matrix, path: Path) -> None:
    """Draw and write, whole or not at all.

    Args:
        matrix: What was measured.
        path: PNG, SVG or PDF, by its ending.

    Raises:
        EvaluationError: The file cannot be written.
    """
    check_writable(path)
    figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _heat_map(left, matrix)
    _curve(right, matrix)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower())
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise _refused(path, error) from error


def _heat_map(axes: Axes, matrix: Matrix) -> None:
    grid = np.array(matrix.map)
    names = [f"{capacity:g}" for capacity in matrix.capacities]
    image = axes.imshow(grid, origin="lower", cmap="viridis")
    middle = (grid.min() + grid.max()) / 2
    for (row, column), value in np.ndenumerate(grid):
        mark = "" if matrix.compatible[row][column] else "!"
        axes.text(
            column,
            row,
            f"{value:.1f}{mark}",
            ha="center",
            va="center",
            fontsize=7,
            color="black" if value > middle else "white",
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="capacity of the gallery encoder", ylabel="capacity of the query encoder", title="mAP")
    axes.figure.colorbar(image, ax=axes, shrink=0.85)


def _curve(axes: Axes, matrix: Matrix) -> None:
    reached = [row.achieved for row in matrix.rows]
    dense = matrix.map[-1][-1]
    axes.fill_between(
        reached,
        [dense - row.below_dense.high for row in matrix.rows],
        [dense - row.below_dense.low for row in matrix.rows],
        alpha=0.2,
        linewidth=0,
    )
    axes.plot(reached, [row.cross_map for row in matrix.rows], "o-", label="cross-test: dense gallery")
    axes.plot(
        reached, [row.self_map for row in matrix.rows], "s--", color="grey", label="self-test: own gallery"
    )
    axes.plot(
        reached,
        [row.mixed.own_queries for row in matrix.rows],
        "^:",
        label=f"gallery of which {matrix.mixed_share:.0%} is its own",
    )
    axes.axhline(dense, color="black", linewidth=0.8)
    axes.set(xlabel="capacity (kept / dense prunable parameters)", ylabel="mAP", xlim=(0, 1.04))
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)


def _refused(path: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"{path} cannot be written: {error.strerror}; name a folder that exists and takes files"
    )
