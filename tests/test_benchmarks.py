"""Every benchmark imports what is there: none runs in CI, so a name that moved would be missed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_benchmark_imports_what_it_needs(name: str) -> None:
    import_module(f"benchmarks.{name}")
