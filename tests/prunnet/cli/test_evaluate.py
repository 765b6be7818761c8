"""`prunnet-eval`: the matrix, its plot, and the index, through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prunnet import data
from prunnet.cli import evaluate
from prunnet.data.source import RetrievalSet
from prunnet.errors import DatasetError
from prunnet.package.load import load_encoder
from tests.prunnet.data import trees


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of glyphs as a user's folder of test pictures."""
    from prunnet.data.glyph_set import fixed_views
    from prunnet.data.glyphs import load_glyphs

    glyphs = load_glyphs()
    root = tmp_path_factory.mktemp("pictures")
    for label in range(40, 52):
        rows = np.flatnonzero(glyphs.classes == label)[:5]
        folder = root / "test" / f"class{label}"
        folder.mkdir(parents=True)
        for number, view in enumerate(fixed_views(torch.from_numpy(glyphs.pictures[rows]), label, 48)):
            Image.fromarray(view).save(folder / f"{number}.png")
    train = root / "train" / "any"
    train.mkdir(parents=True)
    Image.fromarray(view).save(train / "0.png")
    return root


def test_the_matrix_as_table_json_and_plot(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "matrix.png"
    given = ["glyphs", "--dataset", str(pictures), "--matrix", "--capacity", "0.5", "--capacity", "0.2"]
    assert evaluate.main([*given, "--plot", str(plot), "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["capacities"] == [0.2, 0.5, 1.0] and found["queries"] == 60
    assert [row["cross_map"] for row in found["rows"]] == [row[-1] for row in found["map"]]
    assert f"wrote {plot}" in shown.err
    with Image.open(plot) as picture:
        assert picture.width > 800 and len(set(picture.convert("L").resize((64, 64)).tobytes())) > 20
    assert evaluate.main(given) == 0
    text = capsys.readouterr().out
    assert "flips -/+" in text and f"{found['map'][0][2]:.1f}" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--plot", "matrix.png"], "add --matrix"),
        (["--index", "Flat"], "official benchmark"),
        (["--matrix", "--dataset", "cub200=/nowhere"], "cross- and self-test"),
        (
            ["--matrix", "--plot", "/nowhere/at/all.png"],
            "/nowhere/at/all.png cannot be written: No such file",
        ),
        (["--matrix", "--plot", "matrix.tiff"], "ends in one of .pdf, .png, .svg"),
        (["--matrix", "--capacity", "0"], "not in (0, 1]"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["glyphs", *given]) == 2
    assert said in capsys.readouterr().err


def test_a_read_only_folder_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands in for the folder: the owner of a container may write to folders that are read-only."""
    (tmp_path / "file").write_text("")
    assert evaluate.main(["glyphs", "--matrix", "--plot", str(tmp_path / "file" / "a.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_approximate_index_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = f"gldv2={trees.gldv2(tmp_path)}"
    given = ["glyphs", "--dataset", dataset, "--capacity", "1.0"]
    assert evaluate.main([*given, "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert exact["notes"] == [] and set(exact["points"][0]["cross"]) == {"mAP@100 private", "mAP@100 public"}
    assert evaluate.main([*given, "--index", "HNSW4"]) == 0
    assert "approximate: the gallery is searched through FAISS 'HNSW4'" in capsys.readouterr().out
    assert evaluate.main([*given, "--index", "Nonsense"]) == 2
    assert "no index 'Nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "metrics", "said"),
    [
        ({"data": {"name": "folder", "path": "/data/glyphs"}}, {"data": "glyphs"}, "on 'glyphs': say what"),
        ({"data": {"name": "folder", "path": "."}}, {"data": ""}, "on 'folder': say what"),
        ({"data": {"name": "cub200"}}, {}, "on 'cub200': say what"),
        ({}, {"data": "animals"}, "on 'animals': say what"),
        ({"data": {"name": "glyphs"}}, {"data": "glyphs"}, None),
        ({}, {"data": "glyphs"}, None),
        ({}, {}, None),
    ],
)
def test_a_folder_called_glyphs_is_not_the_built_in_data(
    recipe: dict[str, object],
    metrics: dict[str, object],
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(load_encoder("glyphs").path, tmp_path / "encoder")
    about = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(about | {"recipe": recipe, "metrics": metrics}))
    opened: list[str] = []

    def open_pictures(name: str, into: object) -> RetrievalSet:
        opened.append(name)
        raise DatasetError("enough")

    monkeypatch.setattr(data, "open_test_pictures", open_pictures)
    assert evaluate.main([str(folder), "--capacity", "1.0"]) == 2
    error = capsys.readouterr().err
    if said is None:
        assert opened == ["glyphs"] and "enough" in error
    else:
        assert not opened and said in error
