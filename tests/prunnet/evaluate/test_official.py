from __future__ import annotations

import json
from pathlib import Path

import pytest

from prunnet.cli import evaluate
from tests.prunnet.data import trees


def test_a_benchmark_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "glyphs",
        "--dataset",
        f"cub200={trees.cub200(tmp_path)}",
        "--capacity",
        "0.3",
        "--capacity",
        "1.0",
    ]
    assert evaluate.main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task"] == "cub200" and len(found["points"]) == 2
    assert any("officially" in difference for difference in found["differences"])
    dense = found["points"][1]
    assert dense["achieved"] == 1 and dense["cross"] == dense["own"]
    assert all(0 <= value <= 1 for point in found["points"] for value in point["cross"].values())
    assert evaluate.main(given) == 0
    assert "Recall@1" in capsys.readouterr().out


def test_a_misspelt_benchmark_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["glyphs", "--dataset", f"cub20={tmp_path}"]) == 2
    assert "cub200" in capsys.readouterr().err
