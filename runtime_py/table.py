"""Rows of text as aligned lines."""

from __future__ import annotations

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Return the rows as lines with aligned columns, two spaces between them.

    Args:
        rows: At least one; all of one length.
        left: How many columns, from the first, are aligned to the left; the others to the right.
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
