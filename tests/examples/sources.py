"""What the Kotlin and Swift sources of examples/ say, for tests that hold it against exported artifacts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def only(pattern: str, file: Path) -> tuple[str, ...]:
    """The groups of the one match of a pattern in a file."""
    found = re.findall(pattern, file.read_text(), re.MULTILINE)
    assert len(found) == 1, f"{file.name}: {len(found)} matches of {pattern}"
    return found[0] if isinstance(found[0], tuple) else (found[0],)


def expression(text: str) -> Callable[..., int]:
    """An integer expression of Kotlin or Swift, as a function of its variables by name."""
    python = text.replace(" shr ", " >> ").replace(" and ", " & ").replace(".", "_")
    return lambda **values: eval(python, {"__builtins__": {}}, values)


def at(manifest: dict[str, Any], path: str) -> Any:
    """The value at a dotted path of a manifest."""
    found: Any = manifest
    for key in path.split("."):
        found = found[key]
    return found
