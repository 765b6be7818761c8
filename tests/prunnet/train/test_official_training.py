"""Training on official benchmarks: the shipped recipes on tiny trees in the official layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from prunnet.cli import train as command
from prunnet.data import open_data
from prunnet.data.official import benchmark_names, open_task
from prunnet.data.official.task import EVALUATION_ONLY
from prunnet.data.pictures import Pictures
from prunnet.errors import DatasetError, EncoderError
from prunnet.package.load import load_encoder
from prunnet.train.official import official_probes
from prunnet.train.recipe.data_spec import DataSpec
from prunnet.train.recipe.recipe import Recipe, load_recipe, shipped_recipes
from prunnet.train.run import train_package
from prunnet.train.training import train
from tests.prunnet.data import trees

OFFICIAL = [name for name in shipped_recipes() if not name.startswith("glyphs")]

RECIPE = """\
schema_version: 1
name: few-products
data: {name: sop}
encoder:
  backbone: resnet18
  options: {channels: [8, 8, 16, 16], layers: [1, 1, 1, 1]}
  image_size: [32, 32]
  dimension: 16
method: {name: prunnet-channel, capacities: [0.3], channel_multiple: 4}
schedule: {epochs: 4, batch_size: 2, learning_rate: 0.05, decay: steps, milestones: [2], warmup_epochs: 0}
"""


def _cut_short(recipe: Recipe, root: Path, side: int) -> Recipe:
    schedule = recipe.schedule.model_copy(update={"steps": 2, "epochs": None, "batch_size": 2})
    encoder = recipe.encoder.model_copy(update={"pretrained": False, "image_size": (side, side)})
    data = recipe.data.at(str(root))
    return recipe.model_copy(update={"schedule": schedule, "encoder": encoder, "data": data})


def _pixels(pictures: Pictures, number: int) -> bytes:
    return pictures.read([number], (8, 8)).tobytes()


def test_the_recipes_name_every_benchmark() -> None:
    names = set(get_args(DataSpec.model_fields["name"].annotation))
    assert names == {"glyphs", "folder", *benchmark_names()}
    assert {load_recipe(name).data.name for name in OFFICIAL} == set(benchmark_names()) - set(EVALUATION_ONLY)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if "vit" in n else []) for n in OFFICIAL]
)
def test_a_shipped_recipe_trains_two_steps(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    if "vit" in name:
        assert recipe.encoder.pretrained and recipe.schedule.optimizer == "adamw"
    root = trees.TREES[recipe.data.name](tmp_path / "data")
    short = _cut_short(recipe, root, 32)
    data = open_data(short.data.name, short.data.path, short.encoder.image_size)
    prunable = train(short, data.train, tmp_path / "run", quiet=True).prunable
    losses = [
        json.loads(line)["losses"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert set(losses[-1]) == {"dense", "0.2", "0.4", "0.6", "0.8"}
    assert prunable.granularity == "weight"


def test_train_on_a_benchmark_then_measure_by_its_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "recipe.yaml", tmp_path / "run"
    file.write_text(RECIPE)
    root = trees.sop(tmp_path / "data")
    given = ["--recipe", str(file), "--data", str(root), "--out", str(out)]
    assert command.main([*given, "--control", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    official = metrics["official"]
    assert official["task"] == "sop" and [p["capacity"] for p in official["points"]] == [0.3, 1.0]
    assert any("59,551 officially" in difference for difference in official["differences"])
    dense = official["points"][-1]["cross"]
    for name, tax in metrics["control"]["tax"].items():
        assert tax == pytest.approx(100 * (metrics["control"]["figures"][name] - dense[name]), abs=0.01)
    package = load_encoder(out / "encoder")
    stated = {"crop": [0.35, 1.0], "mirror": True, "colour": 0.0, "blur": 0.0}
    assert package.metadata.recipe["data"] == {"name": "sop", "path": str(root), "augment": stated}
    assert package.metadata.recipe["schedule"]["epochs"] == 4
    card = (out / "encoder" / "README.md").read_text()
    first = official["points"][0]["cross"]["Recall@1"]
    assert f"| Recall@1 | {100 * first:.2f} | {100 * dense['Recall@1']:.2f} |" in card
    assert "not the official benchmark" in card and "## Self-test on sop" in card
    log = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 3, 4]  # three pictures in batches of two: an epoch is one step
    assert command.main([*given, "--resume"]) == 0
    assert "Recall@1" in capsys.readouterr().out


def test_a_package_of_an_interrupted_measurement_says_so(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    recipe = load_recipe(str(file))
    recipe = recipe.model_copy(update={"data": recipe.data.at(str(trees.sop(tmp_path / "data")))})
    opened = open_task("sop", tmp_path / "data")
    probed = official_probes(opened, (32, 32), np.zeros((2, 32, 32, 3), np.uint8), 16)
    # The probes can be read, a picture that only the protocol needs cannot.
    for number in range(len(opened.gallery)):
        pixels = opened.gallery.read([number], (32, 32))[0]
        if not any(np.array_equal(pixels, image) for image in probed.images):
            opened.gallery.file(number).write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="not a readable picture"):
        train_package(recipe, tmp_path / "run")
    assert "not measured yet" in (load_encoder(tmp_path / "run" / "encoder").path / "README.md").read_text()


@pytest.mark.parametrize("name", trees.TREES)
def test_probes_of_a_benchmark_find_their_class_and_nothing_else(name: str, tmp_path: Path) -> None:
    task = open_task(name, trees.TREES[name](tmp_path))
    probes = official_probes(task, (8, 8), np.zeros((2, 8, 8, 3), np.uint8), 16)
    truth = task.truths[0]
    wanted = []
    for query in truth.queries:
        relevant, ignored = truth.masks(np.array([query]))
        right = np.flatnonzero(relevant[0] if ignored is None else relevant[0] & ~ignored[0])
        if len(right):
            wanted.append({_pixels(task.queries, query), *(_pixels(task.gallery, item) for item in right)})
    found = [{i.tobytes() for i in probes.images[probes.labels == label]} for label in set(probes.labels)]
    # In a benchmark where every picture is a query, each picture of a class asks for the same class.
    assert sorted(map(sorted, found)) == sorted(map(sorted, {frozenset(each) for each in wanted}))


def test_probes_of_one_vehicle_before_two_cameras_are_one_class(tmp_path: Path) -> None:
    """A query finds the other camera's pictures only, so two queries of one vehicle have no right one in common."""
    vehicles = range(1, 9)
    names = [
        f"{v:04}_c00{camera}_{shot:08}_0.jpg" for v in vehicles for camera in (1, 2) for shot in range(2)
    ]
    root = trees.veri776(tmp_path)
    lists = {"query": names[::2], "test": names}
    for part, listed in lists.items():
        trees.pictures(root / f"image_{part}", listed)
        trees.text(root / f"name_{part}.txt", listed)
    task = open_task("veri776", root)
    probes = official_probes(task, (8, 8), np.zeros((2, 8, 8, 3), np.uint8), 100)
    assert len(set(probes.labels)) == len(vehicles) and len(probes.labels) == 3 * len(vehicles)


def test_probes_of_one_landmark_in_parts_are_one_class(tmp_path: Path) -> None:
    """What is junk for a query may show its landmark, and be right for another query of the same one."""
    boxes = [[1.0, 2.0, 7.0, 6.0], [0.0, 0.0, 4.0, 4.0]]
    gnd = [
        {"bbx": boxes[0], "easy": [0, 1], "hard": [], "junk": [2]},
        {"bbx": boxes[1], "easy": [2, 3], "hard": [], "junk": [0]},
    ]
    task = open_task("roxford5k", trees.revisited(tmp_path, truth=trees.REVISITED | {"gnd": gnd}))
    probes = official_probes(task, (8, 8), np.zeros((2, 8, 8, 3), np.uint8), 100)
    assert probes.labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_probes_are_at_most_as_many_as_asked(count: int, tmp_path: Path) -> None:
    task = open_task("gldv2", trees.gldv2(tmp_path))
    probes = official_probes(task, (8, 8), np.zeros((2, 8, 8, 3), np.uint8), count)
    assert 2 <= len(probes.images) <= count


@pytest.mark.parametrize("name", EVALUATION_ONLY)
def test_a_benchmark_without_training_pictures_says_what_to_train_on(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="train on gldv2"):
        open_data(name, str(trees.TREES[name](tmp_path)), (32, 32))


def test_data_that_is_nowhere_or_needs_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert command.main(["--recipe", "inshop-resnet18.yaml", *out]) == 2
    assert "prunnet-train --data ROOT" in capsys.readouterr().err
    assert command.main(["--recipe", "inshop-resnet18", "--data", str(tmp_path / "no"), *out]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert command.main(["--recipe", "glyphs", "--data", str(tmp_path), *out]) == 2
    assert "glyphs are built in" in capsys.readouterr().err
    trees.gldv2(tmp_path / "gldv2", train=False)
    assert command.main(["--recipe", "gldv2-resnet18", "--data", str(tmp_path / "gldv2"), *out]) == 2
    assert "no list of training pictures" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_that_are_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from prunnet.encoder.encoder import Encoder

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="pretrained weights of 'vit_small_patch16_224'"):
        Encoder.from_timm("vit_small_patch16_224", pretrained=True)
