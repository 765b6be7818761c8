from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prunnet.cli import evaluate
from prunnet.cli import train as command
from prunnet.package.load import load_encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule

RECIPE = """\
schema_version: 1
name: few-pictures
data: {{name: folder, path: {root}}}
encoder:
  backbone: resnet18
  options: {{channels: [8, 8, 16, 16], layers: [1, 1, 1, 1]}}
  image_size: [32, 32]
  dimension: 16
method:
  name: prunnet-channel
  capacities: [0.3]
  channel_multiple: 4
  spare_narrow: 0.5
  keep_factors: {{"*.layer4.*": 0.8}}
  adapters: smooth
schedule: {{steps: 6, batch_size: 8, warmup_steps: 2, learning_rate: 0.05}}
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of glyphs as a user's folder of pictures."""
    import numpy as np
    import torch
    from PIL import Image

    from prunnet.data.glyph_set import fixed_views
    from prunnet.data.glyphs import load_glyphs

    glyphs = load_glyphs()
    root = tmp_path_factory.mktemp("pictures")
    for label in range(40, 46):
        rows = np.flatnonzero(glyphs.classes == label)[:6]
        views = fixed_views(torch.from_numpy(glyphs.pictures[rows]), label, 48)
        folder = root / ("train" if label < 43 else "test") / f"class{label}"
        folder.mkdir(parents=True)
        for number, view in enumerate(views):
            Image.fromarray(view).save(folder / f"{number}.png")
    return root


def test_train_then_evaluate(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tree))
    out = tmp_path / "run"
    assert command.main(["--recipe", str(recipe), "--out", str(out), "--control", "--json"]) == 0
    printed = capsys.readouterr()
    assert f"train: 18 pictures of 3 classes in {tree / 'train'}\n" in printed.err
    assert "probes: 18 test pictures; 18 have something to find, in 3 classes" in printed.err
    metrics = json.loads(printed.out)
    assert metrics["protocol"] == "every held-out image against all others, classes unseen in training"
    package = load_encoder(out / "encoder")
    assert package.name == "few-pictures" and package.metadata.training_capacities == (0.3, 1.0)
    keep_factors = {"*.layer4.*": 0.8}
    spared = PrunableEncoder(
        package.prunable.encoder, CutRule(channel_multiple=4, spare_narrow=0.5, keep_factors=keep_factors)
    ).capacities()
    assert package.prunable.capacities() == spared and package.metadata.spare_narrow == 0.5
    assert package.metadata.keep_factors == keep_factors
    control = metrics["control"]
    assert control["tax"] == pytest.approx(control["dense_map"] - metrics["curve"]["dense_map"], abs=0.01)
    card = (out / "encoder" / "README.md").read_text()
    assert "`*.layer4.*` keeps 0.8 times its share" in card
    assert package.space_id in card and f"{metrics['curve']['dense_map']:.1f}" in card
    assert evaluate.main([str(out / "encoder"), "--dataset", str(tree), "--capacity", "0.5", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    wanted = next(p for p in metrics["curve"]["points"] if p["capacity"] == 0.5)
    assert again["points"] == [wanted]
    assert command.main(["--recipe", str(recipe), "--out", str(out)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert command.main(["--recipe", str(recipe), "--out", str(out), "--resume"]) == 0
    assert "cross mAP" in capsys.readouterr().out


def test_a_finished_dense_encoder_keeps_its_space(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (tmp_path / name for name in ("first.yaml", "second.yaml", "third.yaml"))
    first.write_text(RECIPE.format(root=tree))
    assert command.main(["--recipe", str(first), "--out", str(tmp_path / "run")]) == 0
    owned = str(tmp_path / "run" / "encoder")
    text = (
        RECIPE.format(root=tree)
        .replace("adapters: smooth", "adapters: full")
        .replace("prunnet-channel", "prunnet")
    )
    second.write_text(text.replace("{steps: 6,", "{steps: 6, follow: {steps: 4, learning_rate: 0.01},"))
    out = tmp_path / "more"
    capsys.readouterr()
    assert command.main(["--recipe", str(second), "--out", str(out), "--dense", owned, "--json"]) == 0
    before, after = load_encoder(owned), load_encoder(out / "encoder")
    assert after.space_id == before.space_id
    for name, tensor in before.prunable.encoder.state_dict().items():
        assert tensor.equal(after.prunable.encoder.state_dict()[name]), name
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [8, 10]
    # Magnitude is that of the dense weights, without what the subnetworks have learned.
    assert after.metadata.metrics["magnitude"] == before.metadata.metrics["magnitude"]
    assert after.metadata.metrics["curve"]["points"] != before.metadata.metrics["curve"]["points"]
    assert any(correction.any() for correction in after.prunable.adapters.parameters())

    assert command.main(["--recipe", str(first), "--out", str(tmp_path / "x"), "--dense", owned]) == 2
    assert "trains the dense encoder in every step" in capsys.readouterr().err
    assert after.metadata.metrics["dense_from"] == before.name
    assert f"package `{before.name}`" in (out / "encoder" / "README.md").read_text()
    # A run belongs to its dense encoder: without it, or with another one, it is another run.
    assert command.main(["--recipe", str(second), "--out", str(out), "--resume"]) == 2
    assert f"space {before.space_id}" in capsys.readouterr().err
    options = ["--recipe", str(second), "--out", str(out), "--resume", "--dense", owned]
    assert command.main(options) == 0
    assert load_encoder(out / "encoder").space_id == before.space_id

    third.write_text(second.read_text().replace("dimension: 16", "dimension: 8"))
    assert command.main(["--recipe", str(third), "--out", str(tmp_path / "y"), "--dense", owned]) == 2
    assert "head.norm.bias differs" in capsys.readouterr().err
    third.write_text(second.read_text().replace("options: {", "options: {output_stride: 16, "))
    assert command.main(["--recipe", str(third), "--out", str(tmp_path / "z"), "--dense", owned]) == 2
    assert "backbone and options" in capsys.readouterr().err


def test_errors_have_exit_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--recipe", "nothing", "--out", str(tmp_path)]) == 2
    assert "no such file or shipped recipe" in capsys.readouterr().err
    assert evaluate.main([str(tmp_path)]) == 2
    assert "is not an encoder package" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["prunnet.cli.train", "prunnet.cli.evaluate"])
def test_help_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module} as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'timm', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_small_network_is_measured_as_far_as_it_reaches(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    small = RECIPE.format(root=tree).replace("channel_multiple: 4", "channel_multiple: 8")
    recipe.write_text(small.replace("[0.3]", "[0.5]"))
    assert command.main(["--recipe", str(recipe), "--out", str(tmp_path / "run"), "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["curve"]["points"]
    assert points[0]["capacity"] > 0.1 and points[-1]["capacity"] == 1
    assert evaluate.main([str(tmp_path / "run" / "encoder")]) == 2
    assert "say what to retrieve" in capsys.readouterr().err
    recipe.write_text(small.replace("[0.3]", "[0.01, 0.5]"))
    assert command.main(["--recipe", str(recipe), "--out", str(tmp_path / "other")]) == 2
    assert "below the smallest subnetwork" in capsys.readouterr().err
    assert not (tmp_path / "other" / "checkpoint.safetensors").exists()
