"""Every option of a recipe changes something, or is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel, ValidationError

from prunnet.data import open_data
from prunnet.errors import TrainingError
from prunnet.train import run
from prunnet.train.recipe.differences import _parts
from prunnet.train.recipe.idle import idle_options
from prunnet.train.recipe.method import METHODS, MethodSpec
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.training import train
from prunnet.train.validation import Figures, Validation, divided

BASE: dict[str, Any] = {
    "schema_version": 1,
    "name": "base",
    "seed": 0,
    "data": {"name": "glyphs"},
    "encoder": {
        "backbone": "resnet18",
        "options": {"channels": [8, 8, 12, 12], "layers": [1, 1, 1, 1]},
        "image_size": [32, 32],
        "dimension": 8,
    },
    "method": {"name": "prunnet-channel", "capacities": [0.4, 0.7], "channel_multiple": 2},
    "schedule": {"steps": 4, "batch_size": 4, "warmup_steps": 2, "learning_rate": 0.05},
}
AFTER = {
    "method": {"name": "prunnet", "capacities": [0.4], "channel_multiple": 2},
    "schedule.follow": {"steps": 4, "learning_rate": 0.05},
}
STEPS = {"schedule.decay": "steps", "schedule.milestones": [2]}
SANDWICH = {"method.draw": "sandwich", "method.per_step": 2}

# Option -> (what else the recipe says, another value of the option).
TRAINED: dict[str, tuple[dict[str, Any], Any]] = {
    "seed": ({}, 1),
    "encoder.backbone": ({"encoder.options": {}}, "resnet10t"),
    "encoder.options": ({}, {"channels": [8, 8, 12, 16], "layers": [1, 1, 1, 1]}),
    "encoder.image_size": ({}, [40, 40]),
    "encoder.dimension": ({}, 12),
    "method.name": ({}, "joint"),
    "method.granularity": ({"method": {"name": "prunnet-channel", "capacities": [0.4]}}, "weight"),
    "method.channel_multiple": ({}, 4),
    "method.spare_narrow": ({}, 1.0),
    "method.keep_factors": ({}, {"*.layer4.*": 0.5}),
    "method.capacities": ({}, [0.3, 0.7]),
    "method.subnetworks": ({**AFTER, "schedule.follow": None}, "together"),
    "method.per_step": ({}, 1),
    "method.draw": ({"method.per_step": 2}, "sandwich"),
    "method.smallest_share": (SANDWICH, 0.01),
    "method.adapters": ({}, "smooth"),
    "method.dense_only": ({}, ["classifier"]),
    "method.dense_share": ({}, 0.5),
    "method.objective": ({}, "embedding"),
    "method.distillation": ({}, 1.0),
    "method.subnetwork_weight": ({}, 3.0),
    "method.weighting": ({}, "uncertainty"),
    "method.project": ({}, False),
    "method.protect_dense": ({}, True),
    "method.alpha": ({}, 2.0),
    "method.balance": ({}, 0.1),
    "method.scores": ({}, "prefix"),
    "method.learn_scores": ({}, False),
    "schedule.steps": ({}, 5),
    "schedule.epochs": ({"schedule.steps": None, "schedule.epochs": 1}, 2),
    "schedule.follow": (AFTER, {"steps": 3, "learning_rate": 0.05}),
    "schedule.batch_size": ({}, 6),
    "schedule.optimizer": ({}, "adamw"),
    "schedule.learning_rate": ({}, 0.02),
    "schedule.momentum": ({}, 0.5),
    "schedule.weight_decay": ({}, 0.1),
    "schedule.decay": ({}, "steps"),
    "schedule.milestones": (STEPS, [1]),
    "schedule.factor": (STEPS, 0.5),
    "schedule.warmup_steps": ({}, 3),
    "schedule.warmup_epochs": ({"schedule.warmup_steps": None}, 0.25),
    "schedule.clip": ({}, 0.01),
    "schedule.precision": ({}, "bf16"),
    "schedule.classifier": ({}, "cosine"),
    "schedule.scale": ({"schedule.classifier": "cosine"}, 5.0),
    "schedule.follow.steps": (AFTER, 3),
    "schedule.follow.learning_rate": (AFTER, 0.01),
    "schedule.follow.turned": (AFTER, 1.0),
}
WITH = {"schedule.decay": {"schedule.milestones": [2]}}
"""What another value must have beside it."""
ELSEWHERE = {
    "schema_version": "another one is refused",
    "name": "the package's name",
    "data": "below",
    "encoder": "below",
    "method": "below",
    "schedule": "below",
    "data.name": "test_what_is_said_of_the_data_is_read",
    "data.path": "test_what_is_said_of_the_data_is_read",
    "data.augment": "test_what_is_said_of_the_data_is_read",
    "data.augment.crop": "test_what_is_said_of_the_data_is_read",
    "data.augment.mirror": "test_what_is_said_of_the_data_is_read",
    "data.augment.colour": "test_what_is_said_of_the_data_is_read",
    "data.augment.blur": "test_what_is_said_of_the_data_is_read",
    "encoder.pretrained": "test_pretrained_weights_are_asked_for",
    "encoder.resize": "tests/prunnet/package/test_resize.py",
    "encoder.resize.filter": "tests/prunnet/package/test_resize.py",
    "encoder.resize.antialias": "tests/prunnet/package/test_resize.py",
    "encoder.resize.fit": "tests/prunnet/package/test_resize.py",
    "encoder.resize.scale": "tests/prunnet/package/test_resize.py",
    "encoder.resize.fill": "tests/prunnet/package/test_resize.py",
    "validation": "tests/prunnet/train/test_validation.py",
    "validation.every": "test_what_is_said_of_validation_is_read",
    "validation.classes": "test_what_is_said_of_validation_is_read",
    "validation.pictures": "test_what_is_said_of_validation_is_read",
    "validation.package": "test_what_is_said_of_validation_is_read",
    "method.networks": "test_methods_of_several_networks_are_refused",
}


class Noise:
    """A source without pictures."""

    size, classes = 16, 4

    def batch(self, seed: int, step: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        side = self.side
        return 255 * torch.rand(count, 3, side, side, generator=generator), torch.arange(count) % 4

    def __init__(self, side: int) -> None:
        self.side = side


def _with(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = json.loads(json.dumps(values))
    for name, value in changes.items():
        *path, last = name.split(".")
        part = result
        for each in path:
            part = part.setdefault(each, {})
        part[last] = value
    return result


def _digest(values: dict[str, Any], folder: Path) -> str:
    """Train, and return what came of it."""
    recipe = Recipe.model_validate(values)
    trained = train(recipe, Noise(recipe.encoder.image_size[0]), folder, quiet=True)
    state = {**trained.prunable.state_dict(), **trained.classifier.state_dict(prefix="classifier.")}
    found = hashlib.sha256(repr(trained.prunable.capacities()).encode())
    for name, tensor in state.items():
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def _fields() -> set[str]:
    return {prefix + name for prefix, part in _parts(Recipe).items() for name in part.model_fields}


def test_every_option_is_looked_at() -> None:
    assert {*TRAINED, *ELSEWHERE} == _fields(), "a new option needs a case here"
    assert not {*TRAINED} & {*ELSEWHERE}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {}


@pytest.mark.parametrize("option", TRAINED)
def test_another_value_trains_another_encoder(option: str, tmp_path: Path, known: dict[str, str]) -> None:
    beside, value = TRAINED[option]
    base = _with(BASE, beside)
    changed = _with(base, {option: value, **WITH.get(option, {})})
    assert changed != base
    key = json.dumps(base)
    if key not in known:
        known[key] = _digest(base, tmp_path / "base")
    assert _digest(changed, tmp_path / "changed") != known[key]


def test_the_name_and_the_version() -> None:
    with pytest.raises(ValidationError, match="schema_version"):
        Recipe.model_validate(_with(BASE, {"schema_version": 2}))
    assert Recipe.model_validate(_with(BASE, {"name": "mine"})).name == "mine"


def test_pretrained_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import timm

    asked = []
    create = timm.create_model

    def recorded(name: str, *, pretrained: bool, **options: Any) -> torch.nn.Module:
        asked.append(pretrained)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", recorded)
    for wanted in (False, True):
        _digest(_with(BASE, {"encoder.pretrained": wanted}), tmp_path / str(wanted))
    assert asked == [False, True]


@pytest.mark.parametrize("name", ["bct", "independent"])
def test_methods_of_several_networks_are_refused(name: str, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(_with(BASE, {"method": {"name": name, "capacities": [0.4]}}))
    with pytest.raises(TrainingError, match=f"method {name}.*train_separately"):
        train(recipe, Noise(32), tmp_path / "a", quiet=True)
    with pytest.raises(TrainingError, match=f"method {name}"):
        run.train_package(recipe, tmp_path / "b")
    assert not [*tmp_path.iterdir()]


def test_what_is_said_of_the_data_is_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for root in ("one", "two"):
        for part in ("train", "test"):
            for number in range(2):
                folder = tmp_path / root / part / f"{part}{number}"
                folder.mkdir(parents=True)
                for file in range(3):
                    picture = random.integers(0, 256, (40, 48, 3), np.uint8)
                    Image.fromarray(picture).save(folder / f"{file}.png")

    def batch(**said: Any) -> np.ndarray:
        data = {"name": "folder", "path": str(tmp_path / "one"), **said}
        spec = Recipe.model_validate(_with(BASE, {"data": data})).data
        return open_data(spec.name, spec.path, (32, 32), spec.augment).train.batch(0, 0, 4)[0].numpy()

    usual = batch()
    changes = [{"path": str(tmp_path / "two")}] + [
        {"augment": each} for each in ({"crop": [1, 1]}, {"mirror": False}, {"colour": 0.5}, {"blur": 3})
    ]
    for change in changes:
        assert not np.array_equal(batch(**change), usual), change
    glyphs = open_data("glyphs", None, (32, 32)).train.batch(0, 0, 4)[0].numpy()
    assert not np.array_equal(glyphs, usual)


def test_what_is_said_of_validation_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = {2: 50.0, 3: 40.0, 4: 30.0}
    monkeypatch.setattr(
        Validation,
        "_measured",
        lambda self, step, *_: {n: Figures(falling[step], 0.0) for n in ("dense", "0.4")},
    )
    glyphs, found = open_data("glyphs", None, (32, 32)).train, {}
    usual = {"every": 2, "classes": 0.05, "pictures": 24}
    for number, change in enumerate(
        ({}, {"every": 3}, {"classes": 0.1}, {"pictures": 32}, {"package": "best"})
    ):
        recipe = Recipe.model_validate(_with(BASE, {"validation": {**usual, **change}}))
        source, held = divided(recipe, glyphs)
        out = tmp_path / str(number)
        prunable = train(recipe, source, out, held=held, quiet=True).prunable
        steps = [line for line in (out / "log.jsonl").read_text().splitlines() if "validation" in line]
        weights = float(prunable.encoder.head.project.weight.detach().sum())
        found[number] = (len(held.labels), source.classes, steps, weights)
    for number in range(1, 5):
        assert found[number] != found[0]
    assert found[4][:3] == found[0][:3] and found[3][1:] == found[0][1:]


@pytest.mark.parametrize("name", METHODS)
def test_what_has_no_effect_is_refused(name: str) -> None:
    """Whatever a method leaves unread is refused when it is set to another value."""
    other = {
        "per_step": 7, "draw": "sandwich", "smallest_share": 0.5, "adapters": "smooth", "dense_only": ("norms",),
        "dense_share": 0.25, "objective": "embedding", "distillation": 2.0, "subnetwork_weight": 2.0,
        "weighting": "uncertainty", "project": False, "protect_dense": True, "alpha": 0.25, "balance": 0.5,
        "scores": "random", "learn_scores": False, "channel_multiple": 2, "subnetworks": "after",
    }  # fmt: skip
    usual = MethodSpec(name=name)
    idle = idle_options(usual)
    for option in idle:
        if getattr(usual, option) == other[option]:
            continue
        with pytest.raises(ValidationError, match=option):
            MethodSpec.model_validate({"name": name, option: other[option]})
    assert MethodSpec.model_validate(usual.model_dump()) == usual
    unread = {"bct": "adapters", "prunnet-weight": "channel_multiple", "prunnet": "balance"}
    assert name not in unread or unread[name] in idle


@pytest.mark.parametrize(("option", "value"), [("factor", 0.5), ("scale", 9.0), ("milestones", [2])])
def test_schedules_refuse_what_has_no_effect(option: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=option):
        Recipe.model_validate(_with(BASE, {f"schedule.{option}": value}))


def test_a_recipe_without_a_method_trains_prunnet() -> None:
    for said in ({}, {"method": {"capacities": [0.2]}}):
        values = {key: value for key, value in BASE.items() if key != "method"} | said
        recipe = Recipe.model_validate(values)
        assert recipe.method.name == "prunnet" and recipe.method.subnetworks == "after"
        follow = recipe.for_items(100).schedule.follow
        assert follow is not None and (follow.steps, follow.learning_rate) == (8, 0.05)


def test_the_models_below_a_recipe_are_found() -> None:
    assert all(issubclass(part, BaseModel) for part in _parts(Recipe).values())
    assert "schedule.follow." in _parts(Recipe)
