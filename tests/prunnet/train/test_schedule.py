from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prunnet.errors import RecipeError, TrainingError
from prunnet.train.recipe.recipe import ScheduleSpec, load_recipe
from prunnet.train.recipe.schedule import learning_rate

ITEMS = 25_882  # In-shop's: 202 whole batches of 128


def test_the_published_in_shop_schedule_falls_where_it_says() -> None:
    schedule = load_recipe("inshop-resnet18").schedule
    in_steps = schedule.for_items(ITEMS)
    epoch = schedule.steps_per_epoch(ITEMS)
    assert epoch == 202 and in_steps.total == 200 * 202
    by_epoch = [learning_rate(in_steps, number * epoch) for number in range(200)]
    expected = [0.1] * 50 + [0.01] * 50 + [0.001] * 50 + [0.0001] * 50
    assert by_epoch == pytest.approx(expected)
    assert learning_rate(in_steps, 50 * epoch - 1) == pytest.approx(0.1)


def test_warm_up_epochs_rise_under_the_cosine() -> None:
    schedule = ScheduleSpec(epochs=10, warmup_epochs=2.5, learning_rate=3e-5, batch_size=10).for_items(87)
    assert (schedule.total, schedule.warmup_steps) == (80, 20)
    for step in range(80):
        wanted = 3e-5 * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / 80)) / 2
        assert learning_rate(schedule, step) == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(epochs=st.integers(1, 40), items=st.integers(1, 500), batch=st.integers(2, 64), data=st.data())
def test_epochs_and_steps_say_the_same(epochs: int, items: int, batch: int, data: st.DataObject) -> None:
    at = (
        data.draw(st.lists(st.integers(1, max(1, epochs - 1)), unique=True, max_size=3)) if epochs > 1 else []
    )
    decay = {"decay": "steps", "milestones": tuple(sorted(at))} if at else {}
    schedule = ScheduleSpec(epochs=epochs, batch_size=batch, warmup_epochs=0, **decay).for_items(items)
    epoch = max(1, items // batch)
    same = {"milestones": tuple(m * epoch for m in sorted(at)), "decay": "steps"} if at else {}
    by_hand = ScheduleSpec(steps=epochs * epoch, batch_size=batch, warmup_steps=0, **same)
    assert schedule == by_hand == by_hand.for_items(items)
    assert ScheduleSpec.model_validate_json(schedule.model_dump_json()) == schedule
    rates = [learning_rate(schedule, step) for step in range(schedule.total)]
    assert rates == sorted(rates, reverse=True) and len(rates) == epochs * epoch


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "steps and epochs: neither"),
        ({"steps": 5, "epochs": 5}, "steps and epochs: both"),
        ({"steps": 5, "warmup_steps": 1, "warmup_epochs": 1}, "at most one"),
        ({"steps": 5, "decay": "steps"}, "milestones: go with decay steps"),
        ({"steps": 5, "milestones": (2,)}, "milestones: go with decay steps"),
        ({"steps": 9, "decay": "steps", "milestones": (3, 2)}, "not ascending"),
        ({"steps": 9, "decay": "steps", "milestones": (3, 3)}, "not ascending"),
        ({"steps": 9, "decay": "steps", "milestones": (3, 9)}, "steps below 9"),
        ({"epochs": 9, "decay": "steps", "milestones": (10,)}, "epochs below 9"),
        ({"steps": 9, "decay": "steps", "milestones": (0,)}, "greater than 0"),
        ({"steps": 9, "decay": "steps", "milestones": (3,), "factor": 1}, "less than 1"),
        ({"steps": 9, "optimizer": "adam"}, "'sgd' or 'adamw'"),
    ],
)
def test_what_does_not_agree_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScheduleSpec(**given)


def test_epochs_of_unknown_items_have_no_steps() -> None:
    with pytest.raises(TrainingError, match="for_items"):
        learning_rate(ScheduleSpec(epochs=3), 0)


def test_the_yaml_error_names_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "schema_version: 1\nname: mine\ndata: {name: roxford5k}\n"
        "encoder: {backbone: resnet18, image_size: [32, 32]}\nschedule: {steps: 10}\n"
    )
    with pytest.raises(
        RecipeError, match=r"mine.yaml:3: data.name: has no training pictures.*gldv2"
    ) as caught:
        load_recipe(str(file))
    assert caught.value.line == 3
    file.write_text(
        file.read_text().replace("roxford5k", "gldv2").replace("steps: 10", "steps: 10, epochs: 2")
    )
    with pytest.raises(RecipeError, match=r"mine.yaml:5: schedule: steps and epochs: both are given"):
        load_recipe(str(file))
