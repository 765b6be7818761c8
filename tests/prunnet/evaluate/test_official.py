from __future__ import annotations

import json
from pathlib import Path

import pytest

from prunnet.cli import evaluate
from prunnet.data.official import open_task
from prunnet.errors import EncoderError, EvaluationError
from prunnet.evaluate import official
from prunnet.package.load import load_encoder
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


@pytest.mark.parametrize(
    ("name", "capacities", "index", "error", "said"),
    [
        ("gldv2", (1.0, 0.001), None, EncoderError, "smallest subnetwork"),
        ("gldv2", (1.0, 2.0), None, EncoderError, r"not in \(0, 1\]"),
        ("gldv2", (1.0,), "Nonsense", EvaluationError, "no index 'Nonsense' of 6 items of "),
        ("gldv2", (1.0,), "IVF2,Flat:nonsense=3", EvaluationError, "no index 'IVF2,Flat:nonsense=3'"),
        ("roxford5k", (1.0,), "Flat", EvaluationError, "no index can be used"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_embedded(
    name: str,
    capacities: tuple[float, ...],
    index: str | None,
    error: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded: list[object] = []
    monkeypatch.setattr(official, "_embedded", lambda module, pictures: embedded.append(pictures))
    task = open_task(name, trees.TREES[name](tmp_path))
    with pytest.raises(error, match=said):
        official.measure_task(load_encoder("glyphs"), task, capacities, index=index)
    assert not embedded
