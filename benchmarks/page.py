"""Puts what a program measured into its place on a page of docs/, between two comments."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def put(page: Path, command: str, text: str) -> None:
    """Write a text between `<!-- COMMAND -->` and the next `<!-- end -->` of a page.

    Raises:
        ValueError: The page has no such place.
    """
    before, _, after = _place(page, command)
    page.write_text(f"{before}\n{text.strip()}\n\n{after}", encoding="utf-8")


def placed(page: Path, command: str) -> str:
    """Return what stands there now, without the blank lines around it.

    Raises:
        ValueError: The page has no such place.
    """
    return _place(page, command)[1].strip()


def _place(page: Path, command: str) -> tuple[str, str, str]:
    found = re.fullmatch(
        rf"(.*<!-- {re.escape(command)} -->\n)(.*?)(<!-- end -->.*)", page.read_text("utf-8"), re.S
    )
    if found is None:
        raise ValueError(f"{page} has no place for {command}: <!-- {command} --> and <!-- end -->")
    before, text, after = found.groups()
    return before, text, after
