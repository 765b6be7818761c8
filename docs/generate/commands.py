"""What the commands print for `--help`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from unittest import mock

COLUMNS = "100"
ORDER = (
    "prunnet-train",
    "prunnet-eval",
    "prunnet-export",
    "prunnet-check",
    "prunnet-device",
    "prunnet-bench",
)


def scripts(root: Path) -> dict[str, str]:
    """Return the entry point of each command, `module:function`, in the order in which they are used."""
    found: dict[str, str] = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    return {name: found[name] for name in (*ORDER, *sorted(found.keys() - set(ORDER)))}


def help_of(entry: str) -> str:
    """Return the help of a command, in lines of at most `COLUMNS` characters.

    Args:
        entry: `module:function`.
    """
    module, _, function = entry.partition(":")
    printed = StringIO()
    with mock.patch.dict(os.environ, COLUMNS=COLUMNS), redirect_stdout(printed), suppress(SystemExit):
        getattr(import_module(module), function)(["--help"])
    return printed.getvalue().rstrip()


def commands(root: Path) -> Iterator[str]:
    """Yield the lines of the page of commands."""
    for name, entry in scripts(root).items():
        yield from (f"## {name}", "", "```text", help_of(entry), "```", "")
