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
from prunnet.errors import RecipeError, TrainingError
from prunnet.train.checkpoint.checkpoint import FILE
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.recipe.recipe import Recipe, ScheduleSpec, load_recipe
from prunnet.train.recipe.schedule import FollowSpec
from prunnet.train.training import train
from tests.prunnet.train.test_training import InterruptedRunError, Short, Stops, _losses, _recipe


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


def test_an_optimizer_that_keeps_nothing_resumes(glyphs: TrainingSource, tmp_path: Path) -> None:
    plain = _recipe(6).schedule.model_copy(update={"momentum": 0.0})
    recipe, source = _recipe(6).model_copy(update={"schedule": plain}), Short(glyphs, 32)
    whole = train(recipe, source, tmp_path / "whole", quiet=True).prunable
    with pytest.raises(InterruptedRunError):
        train(recipe, Stops(glyphs, 32), tmp_path / "parts", quiet=True)
    assert {n.split(".")[0] for n in load_file(tmp_path / "parts" / FILE)} == {"prunable", "classifier"}
    resumed = train(recipe, source, tmp_path / "parts", resume=True, quiet=True).prunable
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
        (folder / f".{FILE}.99999999").write_bytes(b"half written")  # no process has such a number
        again = train(_recipe(2), Short(glyphs, 32), folder, resume=resume, quiet=True).prunable
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name]), name
        assert not [*folder.glob(".*")]


def test_what_a_living_process_is_writing_stays(glyphs: TrainingSource, tmp_path: Path) -> None:
    import os

    from runtime_py.disk.scratch import UNFINISHED, host

    parent = os.getppid()
    living = [tmp_path / f".{FILE}.{parent}", tmp_path / f".{FILE}{UNFINISHED}{host()}-{parent}-00"]
    dead = [tmp_path / f".{FILE}.99999999", tmp_path / f".{FILE}{UNFINISHED}{host()}-99999999-00"]
    for file in (*living, *dead):
        file.write_bytes(b"half written")
    train(_recipe(2), Short(glyphs, 32), tmp_path, quiet=True)
    assert {*tmp_path.glob(".*")} == {*living}


def _changed(about: dict[str, str], tensors: dict[str, torch.Tensor]) -> dict[str, tuple[dict, dict]]:
    """Return checkpoints that are none, or damaged: what they say and hold."""
    weight = next(name for name in tensors if name.endswith("conv1.weight"))
    momentum = next(name for name in tensors if name.startswith("momentum."))
    without = {name: t for name, t in tensors.items() if name != weight}
    blind = {key: value for key, value in about.items() if key != "tensors"}
    return {
        "foreign": ({}, {"x": torch.ones(2)}),
        "no step": ({k: v for k, v in about.items() if k != "step"}, tensors),
        "no recipe": ({k: v for k, v in about.items() if k != "recipe"}, tensors),
        "odd step": ({**about, "step": "-3"}, tensors),
        "late step": ({**about, "step": "12345"}, tensors),
        "missing": (about, without),
        "missing, an old file": (blind, without),
        "another shape": (about, {**tensors, weight: torch.ones(3, 3)}),
        "another name": (blind, {**without, "prunable.other": tensors[weight]}),
        "momentum of another shape": (about, {**tensors, momentum: torch.ones(1, 2, 3)}),
        "no momentum": (about, {n: t for n, t in tensors.items() if n != momentum}),
        "no momentum at all, an old file": (
            blind,
            {n: t for n, t in tensors.items() if not n.startswith("momentum.")},
        ),
        "surplus": (blind, {**tensors, "momentum.9999": torch.ones(2)}),
    }


def test_what_is_no_checkpoint_of_the_run_is_an_error_that_names_the_file(
    glyphs: TrainingSource, tmp_path: Path
) -> None:
    source, recipe, file = Short(glyphs, 32), _recipe(2), tmp_path / FILE
    train(recipe, source, tmp_path, quiet=True)
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
    for case, (said, held) in _changed(about, load_file(file)).items():
        save_file(held, file, said)
        with pytest.raises(TrainingError) as caught:
            train(recipe, source, tmp_path, resume=True, quiet=True)
        assert str(file) in str(caught.value), case
    for content in (b"", b"no safetensors", file.read_bytes()[:-7]):
        file.write_bytes(content)
        for resume in (True, False):
            with pytest.raises(TrainingError, match=r"checkpoint.safetensors is damaged"):
                train(recipe, source, tmp_path, resume=resume, quiet=True)
    file.unlink()
    file.mkdir()
    with pytest.raises(TrainingError, match=r"checkpoint.safetensors is damaged"):
        train(recipe, source, tmp_path, resume=True, quiet=True)


def test_a_file_of_another_program_is_not_called_a_run(glyphs: TrainingSource, tmp_path: Path) -> None:
    for said in ({}, {"format": "pt"}, {"step": "0"}, {"recipe": "{}"}):
        save_file({"x": torch.ones(2)}, tmp_path / FILE, said)
        before = (tmp_path / FILE).read_bytes()
        for resume in (True, False):
            with pytest.raises(TrainingError, match="not written by prunnet-train") as caught:
                train(_recipe(2), Short(glyphs, 32), tmp_path, resume=resume, quiet=True)
            assert "already holds a run" not in str(caught.value)
        assert (tmp_path / FILE).read_bytes() == before


def test_a_batch_of_one_picture_is_refused(glyphs: TrainingSource, tmp_path: Path) -> None:
    single = _recipe(2).schedule.model_copy(update={"batch_size": 1})
    for recipe, size in ((_recipe(2), 1), (_recipe(2).model_copy(update={"schedule": single}), 32)):
        with pytest.raises(TrainingError, match=f"a batch has 1 of {size} training pictures"):
            train(recipe, Short(glyphs, size), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    values = _recipe(2).model_dump(mode="json")
    values["schedule"]["batch_size"] = 1
    (tmp_path / "r.yaml").write_text(json.dumps(values))
    with pytest.raises(RecipeError, match=r"schedule.batch_size: .*2"):
        load_recipe(str(tmp_path / "r.yaml"))
