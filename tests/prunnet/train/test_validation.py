"""Retrieval while a run trains: on classes held out, and without a trace in what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prunnet.data.folder_set import folder_set
from prunnet.data.glyph_set import glyph_set
from prunnet.data.held_out import held_out_rows
from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.errors import DatasetError, TrainingError
from prunnet.train import validation
from prunnet.train.build import Start, build
from prunnet.train.checkpoint.best import FILE, load_best
from prunnet.train.checkpoint.checkpoint import FILE as CHECKPOINT
from prunnet.train.checkpoint.checkpoint import RunIdentity
from prunnet.train.recipe.recipe import Recipe, ValidationSpec
from prunnet.train.run import train_package
from prunnet.train.training import train
from prunnet.train.validation import Figures, Validation, divided
from tests.prunnet.train.test_training import InterruptedRunError, Short, Stops, _losses, _recipe

FOLLOWING = {"subnetworks": "after", "adapters": "full", "objective": "embedding", "project": False}


def _validating(steps: int = 6, package: str = "last", every: int = 2, **method: Any) -> Recipe:
    spec = ValidationSpec(every=every, classes=0.02, pictures=24, package=package)
    return _recipe(steps, **method).model_copy(update={"validation": spec})


@pytest.fixture(scope="module")
def parts() -> tuple[TrainingSource, RetrievalSet]:
    source, held = divided(_validating(), glyph_set(32).train)
    assert held is not None
    return source, held


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "CALIBRATION_IMAGES", 16)


def _validated(folder: Path) -> dict[int, dict[str, dict[str, float]]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["validation"] for line in lines if "validation" in line}


def _epochs(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{**line, "seconds": 0} for line in lines]


@pytest.mark.parametrize(
    "method", [{}, {"granularity": "weight"}, FOLLOWING], ids=["channel", "weight", "after"]
)
def test_looking_changes_nothing_that_is_trained(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path, method: dict[str, Any]
) -> None:
    source, held = Short(parts[0], 32), parts[1]
    states = {}
    for every in (1, 1000):
        recipe = _validating(every=every, **method)
        trained = train(recipe, source, tmp_path / str(every), held=held, quiet=True)
        states[every] = {
            **trained.prunable.state_dict(),
            **trained.classifier.state_dict(prefix="classifier."),
        }
    assert any("running_var" in name for name in states[1])
    for name, tensor in states[1000].items():
        assert torch.equal(tensor, states[1][name]), name
    often, once = _validated(tmp_path / "1"), _validated(tmp_path / "1000")
    assert [*often] == [1, 2, 3, 4, 5, 6] and once == {6: often[6]}
    smallest = f"{_recipe().method.capacities[0]:g}"
    begun = 3 if method is FOLLOWING else 1  # the first round trains no subnetworks
    for step, found in often.items():
        assert [*found] == (["dense", smallest] if step >= begun else ["dense"])
        assert all(0 < each["map"] <= 100 and 0 <= each["recall_at_1"] <= 100 for each in found.values())


def test_the_best_state_is_kept_and_becomes_the_package(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, held = Short(parts[0], 32), parts[1]
    seen = {}

    def measured(self: Validation, step: int, joint: Any, device: torch.device) -> dict[str, Figures]:
        seen[step] = {name: t.clone() for name, t in joint.prunable.state_dict().items()}
        figure = {2: 10.0, 4: 60.0, 6: 50.0}[step]
        return {"dense": Figures(figure, 0), "0.4": Figures(figure - 2, 0)}

    monkeypatch.setattr(Validation, "_measured", measured)
    best = train(_validating(package="best"), source, tmp_path / "best", held=held, quiet=True)
    last = train(_validating(package="last"), source, tmp_path / "last", held=held, quiet=True)
    for trained, step in ((best, 4), (last, 6)):
        assert trained.best is not None and (trained.best.step, trained.best.figure) == (4, 59.0)
        for name, tensor in trained.prunable.state_dict().items():
            assert torch.equal(tensor, seen[step][name]), name
    stored = load_file(tmp_path / "last" / FILE)
    assert all(torch.equal(stored[f"prunable.{name}"], tensor) for name, tensor in seen[4].items())
    assert not all(torch.equal(seen[6][name], tensor) for name, tensor in seen[4].items())


def test_before_subnetworks_learn_no_state_is_the_best(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(self: Validation, step: int, joint: Any, device: torch.device) -> dict[str, Figures]:
        found = {"dense": Figures(99.0 if step <= 2 else 40.0, 0)}
        return found if step <= 2 else {**found, "0.4": Figures(30.0, 0)}

    monkeypatch.setattr(Validation, "_measured", measured)
    trained = train(_validating(**FOLLOWING), Short(parts[0], 32), tmp_path, held=parts[1], quiet=True)
    assert trained.best is not None and (trained.best.step, trained.best.figure) == (4, 35.0)


@pytest.mark.parametrize("method", [{}, FOLLOWING], ids=["together", "after"])
def test_a_resumed_run_measures_and_keeps_what_an_uninterrupted_one_does(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path, method: dict[str, Any]
) -> None:
    (source, held), recipe = parts, _validating(package="best", every=1, **method)
    whole = train(recipe, Short(source, 32), tmp_path / "whole", held=held, quiet=True)
    with pytest.raises(InterruptedRunError):
        train(recipe, Stops(source, 32), tmp_path / "parts", held=held, quiet=True)
    assert 5 in _validated(tmp_path / "parts")  # past the checkpoint of step 4
    resumed = train(recipe, Short(source, 32), tmp_path / "parts", held=held, resume=True, quiet=True)
    assert resumed.best == whole.best and whole.best is not None
    assert _epochs(tmp_path / "parts") == _epochs(tmp_path / "whole")
    for name, tensor in whole.prunable.state_dict().items():
        assert torch.equal(tensor, resumed.prunable.state_dict()[name]), name
    again = train(recipe, Short(source, 32), tmp_path / "parts", held=held, resume=True, quiet=True)
    assert again.best == whole.best  # a run that had ended


def test_a_best_state_of_another_run_is_refused_and_goes_when_a_run_starts_anew(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path
) -> None:
    (source, held), recipe = parts, _validating()
    train(recipe, Short(source, 32), tmp_path, held=held, quiet=True)
    file = tmp_path / FILE
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    tensors = load_file(file)
    odd = [
        ({}, tensors, "not written by prunnet-train"),
        ({**about, "figure": "high"}, tensors, "names no figure"),
        (
            {**about, "recipe": recipe.model_copy(update={"seed": 4}).model_dump_json()},
            tensors,
            "another recipe",
        ),
        ({**about, "step": "900"}, tensors, "step 900"),
    ]
    for said, held_tensors, message in odd:
        save_file(held_tensors, file, said)
        with pytest.raises(TrainingError, match=f"best.safetensors.*{message}"):
            train(recipe, Short(source, 32), tmp_path, held=held, resume=True, quiet=True)
    save_file({name: t for name, t in tensors.items() if "weight" not in name}, file, about)
    joint = build(recipe, source.classes, torch.device("cpu"), Start())
    with pytest.raises(TrainingError, match=r"best.safetensors is damaged"):
        load_best(tmp_path, RunIdentity(recipe.for_items(32)), joint)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    file.rename(fresh / FILE)
    train(recipe, Short(source, 32), fresh, held=held, quiet=True)
    assert load_file(fresh / FILE).keys() == tensors.keys()


def test_a_checkpoint_from_before_there_was_validation_resumes(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path
) -> None:
    source = Short(parts[0], 32)
    train(_recipe(2), source, tmp_path, quiet=True)
    file = tmp_path / CHECKPOINT
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    recipe = json.loads(about["recipe"])
    assert recipe.pop("validation") is None
    del about["tensors"]
    save_file(load_file(file), file, {**about, "recipe": json.dumps(recipe)})
    train(_recipe(2), source, tmp_path, resume=True, quiet=True)
    with pytest.raises(TrainingError, match="validation"):
        train(_validating(2), source, tmp_path, held=parts[1], resume=True, quiet=True)
    assert len(_losses(tmp_path)) == 1 and not (tmp_path / FILE).exists()


def test_validation_without_pictures_is_refused(
    parts: tuple[TrainingSource, RetrievalSet], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="held-out classes, and none were given"):
        train(_validating(), Short(parts[0], 32), tmp_path, quiet=True)
    with pytest.raises(TrainingError, match="can be divided"):
        divided(_validating(), Short(parts[0], 32))
    assert divided(_recipe(), parts[0]) == (parts[0], None)


@pytest.mark.parametrize(("share", "pictures"), [(0.1, 512), (0.3, 7), (0.01, 4), (0.9, 1000)])
def test_what_is_held_out_is_never_trained_on(share: float, pictures: int) -> None:
    random = np.random.default_rng(5)
    labels = random.permutation(np.repeat(np.arange(40), random.integers(1, 9, 40)))
    kept, held = held_out_rows(labels, share, pictures, 3)
    counts = np.bincount(labels)
    assert not {*labels[kept]} & {*labels[held]} and len(held) <= pictures
    away = {*range(40)} - {*labels[kept]}
    assert {*labels[held]} <= away and all(counts[label] > 1 for label in away)
    assert len(away) == min(max(2, round(share * 40)), int((counts > 1).sum()))
    assert len(np.unique(labels[held])) < len(held)  # something can be found
    assert {*kept} == {*np.flatnonzero(np.isin(labels, [*away], invert=True))}
    again = held_out_rows(labels, share, pictures, 3)
    assert np.array_equal(again[0], kept) and np.array_equal(again[1], held)
    another = held_out_rows(labels, share, pictures, 4)[0]
    assert share == 0.9 or not np.array_equal(another, kept)  # of 0.9, all that can go have gone


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 4]])
def test_too_few_classes_to_hold_any_out(labels: list[int]) -> None:
    with pytest.raises(DatasetError, match="none can be held out"):
        held_out_rows(np.array(labels), 0.1, 10, 0)


def _folder(root: Path) -> Path:
    random = np.random.default_rng(0)
    for part, classes in (("train", 6), ("test", 3)):
        for label in range(classes):
            folder = root / part / f"{part}{label}"
            folder.mkdir(parents=True)
            for file in range(4):
                picture = random.integers(0, 60, (32, 32, 3)) + 30 * label
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{file}.png")
    return root


def test_a_folder_holds_classes_out(tmp_path: Path) -> None:
    train_source = folder_set(_folder(tmp_path), (32, 32)).train
    source, held = train_source.hold_out(0.3, 7, 0)  # type: ignore[attr-defined]
    assert (source.classes, source.size) == (4, 16) and held.images.shape == (7, 32, 32, 3)
    seen = {int(picture.mean()) // 30 for picture in source.calibration(16)}
    looked_at = {int(picture.mean()) // 30 for picture in held.images}
    assert len(looked_at) == 2 and not seen & looked_at
    pixels, labels = source.batch(0, 0, 16)
    assert not {int(picture.mean()) // 30 for picture in pixels} & looked_at and {*labels.tolist()} == {
        0,
        1,
        2,
        3,
    }


def test_training_by_a_recipe_says_what_it_will_do_and_takes_the_best(tmp_path: Path) -> None:
    base = _validating(package="best", every=1)
    values = base.model_dump(mode="json")
    values["data"] = {"name": "folder", "path": str(_folder(tmp_path / "data"))}
    values["validation"]["classes"] = 0.3
    values["schedule"]["batch_size"] = 4
    recipe = Recipe.model_validate(values)
    said: list[str] = []
    package = train_package(recipe, tmp_path / "run", say=said.append)
    assert package is not None
    noted = package.metadata.metrics["validation"]
    figures = {
        step: round((each["dense"]["map"] + each[[*each][1]]["map"]) / 2, 4)
        for step, each in _validated(tmp_path / "run").items()
    }
    first = min(step for step, figure in figures.items() if figure == max(figures.values()))
    assert noted == {"best_step": first, "best_map": figures[first], "package": "best"}
    text = "\n".join(said)
    for phrase in (
        "up to 2 of 6 training classes are held out; 8 pictures of 2 of them are measured every 1 steps",
        "one round: 6 steps of the dense encoder and its subnetworks together",
        f"method: {recipe.method.name} (",
        f"that after step {first} ",
    ):
        assert phrase in text
    stored = load_file(tmp_path / "run" / FILE)
    name = next(n for n, t in stored.items() if n.endswith("project.weight"))
    assert torch.equal(package.prunable.state_dict()[name.removeprefix("prunable.")], stored[name])
