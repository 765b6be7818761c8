"""The command behind docs/research/results.md: all runs are valid recipes, and one goes from training to the page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import methods, methods_cost, methods_page
from prunnet.data import DataSet, RetrievalSet
from prunnet.data.glyph_set import glyph_set
from prunnet.train.recipe.method import METHODS
from prunnet.train.recipe.recipe import Recipe
from tests.prunnet.train.test_training import Short


def test_every_method_is_planned_with_every_seed() -> None:
    runs = methods.planned([0, 1])
    assert {run.recipe.method.name for run in runs} == set(METHODS)
    assert len({run.recipe.name for run in runs}) == len(runs) == 2 * len({run.method for run in runs})
    first_rounds = {
        run.recipe.name: run.recipe.schedule.model_copy(update={"follow": None})
        for run in runs
        if run.method != methods.CONTROL
    }
    for name in ("independent-0", "independent-1", "bct-0", "bct-1"):  # the page says so
        assert first_rounds[name].warmup_steps == 300
        first_rounds[name] = first_rounds[name].model_copy(update={"warmup_steps": 50})
    alike = {each.model_dump_json() for each in first_rounds.values()}
    assert len(alike) == 1, "the methods must be trained alike"
    for run in runs:  # a checkpoint stores the recipe so, and is gone on with if it is the same
        assert Recipe.model_validate(run.recipe.model_dump(mode="json")) == run.recipe
    lengths = {run.method: run.recipe.schedule.total for run in runs}
    assert lengths[methods.CONTROL] == lengths["prunnet"] > lengths["magnitude"]


def test_a_seed_that_learned_nothing_is_replaced() -> None:
    (run,) = (run for run in methods.planned([2]) if run.method == "sfsc")
    assert run.recipe.seed == 3 and run.recipe.name == "sfsc-3"


def _small(name: str) -> methods.Run:
    """Return a planned run in small: a tiny network, a few steps."""
    (run,) = (run for run in methods.planned([0]) if run.method == name)
    recipe = run.recipe
    follow = recipe.schedule.follow and recipe.schedule.follow.model_copy(update={"steps": 4})
    small = recipe.model_copy(
        update={
            "schedule": recipe.schedule.model_copy(update={"steps": 4, "batch_size": 16, "follow": follow}),
            "method": recipe.method.model_copy(update={"channel_multiple": 4}),
            "encoder": recipe.encoder.model_copy(
                update={"options": {"channels": [8, 16, 16, 24], "layers": [1, 1, 1, 1]}, "dimension": 16}
            ),
        }
    )
    measured = run.recipe.method.capacities or run.measured[1:3]
    return dataclasses.replace(run, recipe=small, measured=tuple(measured))


def _few_glyphs() -> DataSet:
    whole = glyph_set(48)
    rows = np.flatnonzero(whole.test.labels < np.unique(whole.test.labels)[8])
    return DataSet(
        Short(whole.train, 32), RetrievalSet(whole.test.images[rows], whole.test.labels[rows]), "glyphs"
    )


@pytest.mark.parametrize("name", ["bct", "prunnet", "magnitude", "control"])
def test_a_run_becomes_figures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "CALIBRATION_IMAGES", 16)
    run, data = _small(name), _few_glyphs()
    figures = methods.execute(run, data, tmp_path / "run")
    rows = figures["rows"]
    assert [row["capacity"] for row in rows] == [*run.measured, 1.0]
    assert rows[-1]["below_dense"]["mean"] == 0
    results = tmp_path / "results"
    results.mkdir()
    (results / "one.json").write_text(json.dumps(figures))
    monkeypatch.setattr(methods_page, "RESULTS", results)
    text = "\n".join(methods_page.page(methods_page.load()))
    assert f"| {name} |" in text and f"{rows[-1]['cross_map']:.1f}" in text


def test_costs_are_of_whole_trainings() -> None:
    """One number for each method; what it must be follows from the parts' own times."""
    names = ["magnitude", "prunnet", "bct", "control"]
    recipes = {name: _small(name).recipe for name in names}
    source = _few_glyphs().train
    costs = methods_cost.measure(recipes, source, 1)
    assert list(costs) == names and costs["magnitude"] == {"training": 1.0}
    assert set(costs["prunnet"]) == set(costs["bct"]) == {"training", "step"}
    assert all(cost > 0 for of_one in costs.values() for cost in of_one.values())
    first, second = methods_cost.parts_of(recipes["prunnet"], source)
    assert (first.steps, second.steps, first.subnetworks, second.subnetworks) == (4, 4, False, True)
    networks = methods_cost.parts_of(recipes["bct"], source)
    assert [part.subnetworks for part in networks] == [True] * len(recipes["bct"].method.capacities) + [False]
    assert {part.steps for part in networks} == {4}


def test_the_page_is_that_of_the_committed_runs() -> None:
    """docs/research/results.md is written by the command, never by hand."""
    runs = methods_page.load()
    if not runs:
        pytest.skip("no run is committed yet: python -m benchmarks.methods")
    assert methods_page.PAGE.read_text() == "\n".join(methods_page.page(runs)) + "\n"
