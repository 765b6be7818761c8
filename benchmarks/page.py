"""Keeps what a program measured, and puts it into its place on a page of docs/, between two comments."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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


Rows = dict[str, list[dict[str, Any]]]
"""Part of a benchmark -> what it measured, in order."""


def kept(results: Path) -> Rows:
    """Return the committed rows."""
    rows: Rows = json.loads(results.read_text())
    return rows


def measured(
    about: str | None, parts: Mapping[str, Callable[[], Iterator[dict[str, Any]]]], results: Path
) -> Rows:
    """Run every part of a benchmark and keep the rows, or with `--page` run nothing; return the rows that are kept.

    Args:
        about: What `--help` says.
        parts: Name -> what yields its rows.
        results: The file that keeps them.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from the results")
    if not parser.parse_args().page:
        rows: Rows = {name: [] for name in parts}
        for name, part in parts.items():
            for row in part():
                rows[name].append(row)
                print(row, flush=True)
        results.write_text(json.dumps(rows, indent=1) + "\n")
    return kept(results)
