from __future__ import annotations

from pathlib import Path

import pytest

from prunnet.errors import RecipeError
from prunnet.train.recipe.recipe import load_recipe, shipped_recipes

GOOD = """\
schema_version: 1
name: mine
data: {name: glyphs}
encoder: {backbone: resnet18, image_size: [32, 32]}
schedule: {steps: 10}
"""


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid(name: str) -> None:
    assert load_recipe(name).name == name


def test_a_path_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert load_recipe(str(file)).schedule.batch_size == 128


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"^glyph: no such file or .*did you mean 'glyphs'.*glyphs-tiny"):
        load_recipe("glyph")
    with pytest.raises(RecipeError, match=r"^mein\.yaml: no such file or shipped recipe; allowed: the path"):
        load_recipe("mein.yaml")


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("steps: 10", "steps: 0", 5, "schedule.steps"),
        ("steps: 10", "steps: 10, learning_rte: 0.1", 5, "schedule.learning_rte"),
        ("steps: 10", "steps: 10, learning_rate: .nan", 5, "schedule.learning_rate"),
        ("name: mine", "name: 'a/b'", 2, "name"),
        ("name: glyphs", "name: imagenet", 3, "data.name"),
        ("schema_version: 1", "schema_version: 7", 1, "schema_version"),
    ],
)
def test_errors_name_line_and_field(tmp_path: Path, old: str, new: str, line: int, field: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(file))
    assert caught.value.line == line and caught.value.field == field


@pytest.mark.parametrize("capacities", ["[0.5, 0.2]", "[0.2, 0.2]", "[0.2, 1.0]", "[0]"])
def test_capacities_ascend_below_one(tmp_path: Path, capacities: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + f"method: {{capacities: {capacities}}}\n")
    with pytest.raises(RecipeError, match="capacities"):
        load_recipe(str(file))


def test_a_path_goes_with_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("name: glyphs", "name: folder"))
    with pytest.raises(RecipeError, match="folder"):
        load_recipe(str(file))
