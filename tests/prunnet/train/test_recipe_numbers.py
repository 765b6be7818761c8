"""Every number of a recipe: of its own type, and in a range in which it means something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from torch import nn

from prunnet.errors import RecipeError
from prunnet.train.recipe.recipe import Recipe, load_recipe
from prunnet.train.recipe.schedule import ScheduleSpec
from prunnet.train.step.optimizer import new_optimizer

GOOD: dict[str, Any] = {
    "schema_version": 1,
    "name": "mine",
    "data": {"name": "folder", "path": "pictures", "augment": {}},
    "encoder": {"backbone": "resnet18", "image_size": [32, 32]},
    "method": {"name": "prunnet-channel"},
    "schedule": {"steps": 10, "follow": {"steps": 1, "learning_rate": 0.1}},
}


def _types(annotation: Any) -> set[type]:
    """Return the plain types of a field's value and of its items."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    if origin in (Union, UnionType, tuple, dict):
        return {found for each in get_args(annotation) for found in _types(each)}
    return {annotation} if isinstance(annotation, type) else {int} if annotation is not Any else set()


def _fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, info in model.model_fields.items():
        parts = [each for each in _types(info.annotation) if issubclass(each, BaseModel)]
        for part in parts:
            yield from _fields(part, (*path, name))
        if not parts:
            yield (*path, name), info.annotation


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_list(get_args(annotation)[0])
    return get_origin(annotation) is tuple or any(
        get_origin(each) is tuple
        for each in get_args(annotation)
        if get_origin(annotation) in (Union, UnionType)
    )


NUMBERS = [
    (path, annotation)
    for path, annotation in _fields(Recipe)
    if _types(annotation) & {int, float} and path not in {("encoder", "options"), ("method", "keep_factors")}
    and not _types(annotation) & {str}
]  # fmt: skip


def _with(path: tuple[str, ...], annotation: Any, value: Any) -> str:
    from copy import deepcopy

    tree = deepcopy(GOOD)
    holder = tree
    for key in path[:-1]:
        holder = holder.setdefault(key, {})
    holder[path[-1]] = [value, value] if _is_list(annotation) else value
    return yaml.safe_dump(tree)


def test_the_walk_finds_the_numbers() -> None:
    found = {".".join(path) for path, _ in NUMBERS}
    assert {"seed", "schema_version", "schedule.clip", "schedule.follow.steps", "method.capacities"} <= found
    assert {"encoder.image_size", "data.augment.crop", "schedule.milestones", "method.per_step"} <= found
    assert len(found) > 25


@pytest.mark.parametrize("value", [True, "3", 2**70, 1e308, 10**400, -1e308, float("inf"), float("nan")])
@pytest.mark.parametrize(("path", "annotation"), NUMBERS, ids=[".".join(path) for path, _ in NUMBERS])
def test_a_number_is_a_number_within_bounds(
    path: tuple[str, ...], annotation: Any, value: Any, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(_with(path, annotation, value))
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(file))
    said = str(caught.value)
    assert ".".join(path) in said and "; given " in said and "see docs" not in said
    problem = next(line for line in said.splitlines() if ".".join(path) in line)
    assert "; allowed: " in problem


@pytest.mark.parametrize(
    "field", ["schedule.learning_rate", "schedule.clip", "method.capacities", "method.subnetwork_weight"]
)
def test_what_vanishes_in_float32_is_refused(field: str, tmp_path: Path) -> None:
    file, path = tmp_path / "mine.yaml", tuple(field.split("."))
    file.write_text(_with(path, dict(NUMBERS)[path], 1e-320))
    with pytest.raises(RecipeError, match=f"{field}.*allowed: a number of at least"):
        load_recipe(str(file))


@pytest.mark.parametrize("backbone", ["", "\u202e", " ", "resnet18\n", "x" * 201])
def test_a_backbone_has_a_name(backbone: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD | {"encoder": GOOD["encoder"] | {"backbone": backbone}}))
    with pytest.raises(RecipeError, match=r"encoder\.backbone"):
        load_recipe(str(file))


@pytest.mark.parametrize("given", ["yes", "true", 1])
@pytest.mark.parametrize("field", ["encoder.pretrained", "method.project", "method.learn_scores"])
def test_a_flag_is_true_or_false(field: str, given: object, tmp_path: Path) -> None:
    section, _, name = field.partition(".")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD | {section: {**GOOD.get(section, {}), name: given}}))
    with pytest.raises(RecipeError, match=name):
        load_recipe(str(file))


@pytest.mark.parametrize(
    ("path", "problem"), [("", "names no folder"), (" ", "names no folder"), ("a\0b", "holds characters")]
)
def test_a_path_names_a_folder(path: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD | {"data": {"name": "folder", "path": path}}))
    with pytest.raises(RecipeError, match=rf"data\.path: {problem}"):
        load_recipe(str(file))


def test_sgd_without_momentum_is_plain() -> None:
    class Joint:
        class prunable:  # noqa: N801
            scores: dict[str, Any] = {}  # noqa: RUF012
            adapters = None

        parameters = list(nn.Linear(2, 2).parameters())  # noqa: RUF012

    optimizer = new_optimizer(Joint(), ScheduleSpec(steps=1, momentum=0))  # type: ignore[arg-type]
    assert optimizer.defaults["momentum"] == 0 and not optimizer.defaults["nesterov"]
