"""Rows of text as aligned lines."""

from __future__ import annotations

import pytest

from runtime_py.table import align


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("name", "ms", "note"), ("a", "12.5", ""), ("longer", "3", "x")]
    assert align(rows) == ["  name    ms  note", "     a  12.5", "longer     3     x"]
    assert align(rows, left=1) == ["name      ms  note", "a       12.5", "longer     3     x"]
    assert align(rows, left=3) == ["name    ms    note", "a       12.5", "longer  3     x"]


def test_rows_of_two_lengths_are_a_mistake():
    with pytest.raises(ValueError, match="shorter"):
        align([("a", "b"), ("c",)])
