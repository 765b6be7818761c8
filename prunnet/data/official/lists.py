"""Reading the text lists of the official archives; whatever is wrong is said with file and line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from prunnet.errors import DatasetError

Row = tuple[int, tuple[str, ...]]
"""1-based line, and its columns."""


def find(root: Path, places: Sequence[str], what: str) -> Path:
    """Return the first of several places below `root` that exists.

    Raises:
        DatasetError: None does; names all of them.
    """
    for place in places:
        if (root / place).exists():
            return root / place
    wanted = " or ".join(str(root / place) for place in places)
    raise DatasetError(f"{what} is missing: expected {wanted}; see docs/reference/datasets.md for the layout")


def rows(
    file: Path, columns: Sequence[str], *, separator: str | None = None, header: bool = False, skip: int = 0
) -> Iterator[Row]:
    """Read a list line by line; blank lines do not count.

    Args:
        file: The list.
        columns: What each line holds.
        separator: Between columns; None is any white space.
        header: The first line after `skip` names the columns, and must name these.
        skip: Lines before.

    Raises:
        DatasetError: The file is not readable, or a line has other columns, or nothing is listed.
    """
    listed = False
    try:
        with file.open(encoding="utf-8") as text:
            for number, line in enumerate(text, start=1):
                if number <= skip or not line.strip():
                    continue
                parts = tuple(part.strip() for part in line.rstrip("\r\n").split(separator))
                if header:
                    if parts != tuple(columns):
                        raise wrong(file, number, f"expected the header {_line(columns, separator)}", line)
                    header = False
                    continue
                if len(parts) != len(columns):
                    raise wrong(file, number, f"expected {_line(columns, separator)}", line)
                listed = True
                yield number, parts
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} is not a readable list: {error}; replace it") from error
    if not listed:
        raise DatasetError(f"{file} lists nothing; replace it")


def integer(text: str, file: Path, line: int) -> int:
    """Read a whole number that is not negative.

    Raises:
        DatasetError: It is none.
    """
    if not (text.isascii() and text.isdigit()):
        raise wrong(file, line, "expected a whole number", text)
    return int(text)


def wrong(file: Path, line: int, problem: str, given: str) -> DatasetError:
    """Return the error for one line of a list."""
    shown = given.strip()
    return DatasetError(
        f"{file}:{line}: {problem}; given {shown[:80]!r}; replace the list by the official one"
    )


def _line(columns: Sequence[str], separator: str | None) -> str:
    return repr((separator or " ").join(columns))
