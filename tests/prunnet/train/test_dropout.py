"""Dropout and stochastic depth draw from the seed, the step and the process, and nothing else in a step draws."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prunnet.data.glyph_set import glyph_set
from prunnet.data.source import TrainingSource
from prunnet.train import training
from prunnet.train.dropout import seed_step
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.trainer import Trainer
from prunnet.train.training import train
from tests.prunnet.train.test_training import InterruptedRunError, Short, Stops, _losses, _recipe

AFTER = {
    "subnetworks": "after",
    "adapters": "full",
    "objective": "embedding",
    "draw": "sandwich",
    "per_step": 2,
}


@pytest.fixture(scope="module")
def glyphs() -> TrainingSource:
    return glyph_set(32).train


def _with(options: dict[str, float], **method: object) -> Recipe:
    recipe = _recipe(6, **method)
    encoder = recipe.encoder.model_copy(update={"options": recipe.encoder.options | options})
    return recipe.model_copy(update={"encoder": encoder})


@pytest.mark.parametrize(
    ("options", "method"),
    [({"drop_rate": 0.3}, {}), ({"drop_path_rate": 0.3}, {}), ({"drop_path_rate": 0.3}, AFTER)],
    ids=["dropout", "depth", "depth, following"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    glyphs: TrainingSource, tmp_path: Path, options: dict[str, float], method: dict[str, object]
) -> None:
    recipe, source = _with(options, **method), Short(glyphs, 32)
    whole = train(recipe, source, tmp_path / "whole", quiet=True).prunable
    with pytest.raises(InterruptedRunError):
        train(recipe, Stops(glyphs, 32), tmp_path / "parts", quiet=True)
    resumed = train(recipe, source, tmp_path / "parts", resume=True, quiet=True).prunable
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    "method",
    [{}, {"adapters": "smooth", "per_step": 1, "objective": "embedding"}, {"granularity": "weight"}, AFTER],
    ids=["channel", "adapters", "weight", "following"],
)
def test_a_step_without_dropout_draws_nothing(
    glyphs: TrainingSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, object]
) -> None:
    steps, step = [], Trainer.step

    def watched(self: Trainer, batch: tuple[torch.Tensor, torch.Tensor]):
        before = torch.get_rng_state()
        record = step(self, batch)
        steps.append(torch.equal(before, torch.get_rng_state()))
        return record

    monkeypatch.setattr(Trainer, "step", watched)
    train(_with({}, **method), Short(glyphs, 32), tmp_path, quiet=True)
    assert steps == [True] * 6


def test_each_process_draws_its_own_in_each_step(
    glyphs: TrainingSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, step = [], Trainer.step

    def watched(self: Trainer, batch: tuple[torch.Tensor, torch.Tensor]):
        seeds.append(torch.initial_seed())
        return step(self, batch)

    monkeypatch.setattr(Trainer, "step", watched)
    for rank in range(2):
        monkeypatch.setattr(training, "join_processes", lambda rank=rank: (rank, 2))
        train(_with({"drop_rate": 0.3}), Short(glyphs, 32), tmp_path / str(rank), quiet=True)
    assert len(set(seeds)) == len(seeds) == 12


def test_the_seed_is_a_function_of_run_step_and_process() -> None:
    def drawn(*given: int) -> list[float]:
        seed_step(*given)
        return torch.rand(4).tolist()

    assert drawn(3, 5, 1) == drawn(3, 5, 1)
    assert all(drawn(3, 5, 1) != drawn(*other) for other in ((4, 5, 1), (3, 6, 1), (3, 5, 0), (3, 1, 5)))
