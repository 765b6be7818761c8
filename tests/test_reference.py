"""The generated pages of docs/reference are what the code says now."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from docs.generate.fields import tables
from docs.generate.pages import FOLDER, PAGES, page
from docs.generate.words import words


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == page(name), "run: python -m docs.generate"


def test_a_field_that_nobody_describes_is_refused() -> None:
    class Silent(BaseModel):
        told: int = 1
        """What it is."""
        untold: int = 2

    with pytest.raises(ValueError, match=r"docstring.*Silent\.untold$"):
        list(tables(Silent, {}))


def test_ranges_are_said_as_a_reader_would() -> None:
    whole = {"type": "integer", "exclusiveMinimum": 0, "maximum": 2048}
    assert words(whole) == "whole number, 1 to 2,048"
    assert words({"type": "number", "minimum": 0, "exclusiveMaximum": 1}) == "number, at least 0, below 1"
    assert words({"anyOf": [whole, {"type": "null"}]}) == words(whole)
    assert words({"type": "array", "prefixItems": [whole, whole]}) == f"list of 2, each a {words(whole)}"
    assert words({"type": "array", "items": {"enum": ["a", "b"]}}) == "list, each one of `a`, `b`"
