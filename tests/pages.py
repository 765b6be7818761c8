"""The pages that a stranger reads, taken apart: code blocks, inline code, links, anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from docs.generate.fields import slug

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"^( *)```(\w*)(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^\1```", re.M | re.S)
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: *#+)?$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        page: Path below the repository's root.
        number: Of the block in its page, from 0.
        language: What the fence says; empty if nothing.
        text: Without the fences.
        title: The file that a reader saves it as; empty if none.
    """

    page: str
    number: int
    language: str
    text: str
    title: str = ""

    @property
    def name(self) -> str:
        return f"{self.page}-{self.number}"


def blocks() -> list[Block]:
    """Return every fenced block of every page."""
    found = []
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for number, (indent, language, title, text) in enumerate(_FENCE.findall(path.read_text("utf-8"))):
            dedented = re.sub(f"^{indent}", "", text, flags=re.M)
            found.append(Block(page, number, language, dedented, title))
    return found


def prose(path: Path) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", path.read_text("utf-8"))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(path)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        first = anchor = slug(plain)
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{first}-{number}"
        found.add(anchor)
    return found
