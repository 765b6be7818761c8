"""Checkpoints hold a run whole, whatever its optimizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prunnet.data.glyph_set import glyph_set
from prunnet.data.source import TrainingSource
from prunnet.errors import TrainingError
from prunnet.train.checkpoint import FILE
from prunnet.train.method import MethodSpec
from prunnet.train.recipe import Recipe, ScheduleSpec
from prunnet.train.schedule import FollowSpec
from prunnet.train.trainer import train
from tests.prunnet.test_training import Short, _losses, _recipe


class InterruptedRunError(Exception):
    pass


class Stops(Short):
    def batch(self, seed: int, step: int, count: int):
        if step == 5:
            raise InterruptedRunError
        return super().batch(seed, step, count)


@pytest.fixture(scope="module")
def glyphs() -> TrainingSource:
    return glyph_set(32).train


def _adamw() -> Recipe:
    schedule = ScheduleSpec(
        epochs=4,  # of two steps
        batch_size=16,
        optimizer="adamw",
        learning_rate=0.003,
        weight_decay=0.05,
        warmup_epochs=0.5,
        decay="steps",
        milestones=(3,),
    )
    return _recipe().model_copy(update={"schedule": schedule})


def test_a_resumed_adamw_run_equals_an_uninterrupted_one(glyphs: TrainingSource, tmp_path: Path) -> None:
    source = Short(glyphs, 32)
    whole = train(_adamw(), source, tmp_path / "whole", quiet=True).prunable
    with pytest.raises(InterruptedRunError):
        train(_adamw(), Stops(glyphs, 32), tmp_path / "parts", quiet=True)
    state = {name.split(".")[0] for name in load_file(tmp_path / "parts" / FILE)}
    assert state == {"prunable", "classifier", "exp_avg", "exp_avg_sq", "step"}
    resumed = train(_adamw(), source, tmp_path / "parts", resume=True, quiet=True).prunable
    assert (
        _losses(tmp_path / "parts") == _losses(tmp_path / "whole") and len(_losses(tmp_path / "whole")) == 4
    )
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_an_epoch_of_other_data_is_another_run(glyphs: TrainingSource, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(_adamw(), Stops(glyphs, 32), tmp_path, quiet=True)
    with pytest.raises(TrainingError, match="another recipe"):
        train(_adamw(), Short(glyphs, 48), tmp_path, resume=True, quiet=True)


def test_a_checkpoint_from_before_a_field_existed_still_resumes(
    glyphs: TrainingSource, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        train(_recipe(6), Stops(glyphs, 32), tmp_path, quiet=True)
    file = tmp_path / FILE
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    recipe = json.loads(about["recipe"])
    for field in ("epochs", "optimizer", "decay", "milestones", "factor", "warmup_epochs"):
        del recipe["schedule"][field]
    tensors = load_file(file)
    assert any(name.startswith("momentum.") for name in tensors)
    save_file(tensors, file, about | {"recipe": json.dumps(recipe)})
    train(_recipe(6), Short(glyphs, 32), tmp_path, resume=True, quiet=True)
    assert len(_losses(tmp_path)) == 3
    save_file(tensors, file, about | {"recipe": "{}"})
    with pytest.raises(TrainingError, match="another recipe"):
        train(_recipe(6), Short(glyphs, 32), tmp_path, resume=True, quiet=True)


def test_a_run_from_before_narrow_groups_were_spared_does_not_go_on_with_other_widths(
    glyphs: TrainingSource, tmp_path: Path
) -> None:
    schedule = _recipe(6).schedule.model_copy(update={"follow": FollowSpec(steps=2, learning_rate=0.01)})
    method = MethodSpec.model_validate({"name": "prunnet", "channel_multiple": 4, "capacities": [0.3]})
    today = _recipe(6).model_copy(update={"schedule": schedule, "method": method})
    assert method.spare_narrow > 0
    with pytest.raises(InterruptedRunError):
        train(today, Stops(glyphs, 32), tmp_path, quiet=True)
    file = tmp_path / FILE
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    recipe = json.loads(about["recipe"])
    del recipe["method"]["spare_narrow"]
    save_file(load_file(file), file, about | {"recipe": json.dumps(recipe)})
    with pytest.raises(TrainingError, match="another recipe"):
        train(today, Short(glyphs, 32), tmp_path, resume=True, quiet=True)
    as_then = today.model_copy(update={"method": method.model_copy(update={"spare_narrow": 0.0})})
    train(as_then, Short(glyphs, 32), tmp_path, resume=True, quiet=True)


def test_another_recipe_is_told_field_by_field(glyphs: TrainingSource, tmp_path: Path) -> None:
    source = Short(glyphs, 32)
    train(_recipe(2), source, tmp_path, quiet=True)
    other = _recipe(4).model_copy(update={"seed": 3})
    other = other.model_copy(
        update={"encoder": other.encoder.model_copy(update={"options": {"channels": [8, 16, 16, 24]}})}
    )
    with pytest.raises(TrainingError) as caught:
        train(other, source, tmp_path, resume=True, quiet=True)
    for phrase in (
        "schedule.steps is 2 there and 4 here",
        "seed is 0 there and 3 here",
        "encoder.options.layers is [1, 1, 1, 1] there and not given here",
    ):
        assert phrase in str(caught.value)
    assert "batch_size" not in str(caught.value)


def test_nothing_to_resume_is_an_error_before_anything_is_made(
    glyphs: TrainingSource, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="holds no checkpoint to resume from"):
        train(_recipe(2), Short(glyphs, 32), tmp_path / "empty", resume=True, quiet=True)
    assert not (tmp_path / "empty").exists()


def test_a_run_stopped_before_its_first_epoch_can_be_resumed_or_started_anew(
    glyphs: TrainingSource, tmp_path: Path
) -> None:
    class StopsAtOnce(Short):
        def batch(self, seed: int, step: int, count: int):
            raise InterruptedRunError

    whole = train(_recipe(2), Short(glyphs, 32), tmp_path / "whole", quiet=True).prunable
    for resume in (True, False):
        folder = tmp_path / str(resume)
        with pytest.raises(InterruptedRunError):
            train(_recipe(2), StopsAtOnce(glyphs, 32), folder, quiet=True)
        (folder / f".{FILE}.123").write_bytes(b"half written")
        again = train(_recipe(2), Short(glyphs, 32), folder, resume=resume, quiet=True).prunable
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name]), name
        assert not [*folder.glob(".*")]
