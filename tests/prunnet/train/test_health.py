from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from prunnet.data.data_set import DataSet
from prunnet.data.glyph_set import glyph_set
from prunnet.errors import TrainingError
from prunnet.train import training
from prunnet.train.checkpoint.checkpoint import FILE
from prunnet.train.step.step import JointStep
from prunnet.train.trainer import Trainer
from prunnet.train.training import train
from prunnet.train.watch.health import warn_of_early_start
from tests.prunnet.train.test_training import Short, _recipe


@pytest.fixture(scope="module")
def data() -> DataSet:
    return glyph_set(32)


def _spoil_scores(joint: JointStep) -> None:
    next(iter(joint.prunable.scores.values())).data[0] = float("nan")


def _spoil_gradient(joint: JointStep) -> None:
    joint.parameters[0].register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_spoil_scores, r"step 7: scores\..* is not finite"),
        (_spoil_gradient, "step 5: the gradient is not finite"),
    ],
    ids=["scores", "gradient"],
)
def test_nan_in_the_middle_of_an_epoch_leaves_the_checkpoint(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granularity: str, spoil, says: str
) -> None:
    original = Trainer.step

    def one_step(trainer, batch):
        if trainer.done == 5:  # an epoch is four steps
            spoil(trainer.joint)
        return original(trainer, batch)

    recipe, source = _recipe(8, granularity=granularity, scores="random"), Short(data.train, 64)
    monkeypatch.setattr(Trainer, "step", one_step)
    with pytest.raises(TrainingError, match=rf"{says}.*last good state is .*{FILE}"):
        train(recipe, source, tmp_path, quiet=True)
    before = (tmp_path / FILE).read_bytes()
    monkeypatch.undo()
    resumed = train(recipe, source, tmp_path, resume=True, quiet=True)
    assert before != (tmp_path / FILE).read_bytes()
    whole = train(recipe, source, tmp_path / "whole", quiet=True)
    for name, tensor in whole.prunable.state_dict().items():
        assert torch.equal(tensor, resumed.prunable.state_dict()[name]), name


def test_a_step_that_overflows_at_the_end_of_an_epoch_is_not_saved(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.step

    def one_step(trainer, batch):
        record = original(trainer, batch)
        if trainer.done == 4:
            next(iter(trainer.joint.prunable.scores.values())).data[0] = float("inf")
        return record

    monkeypatch.setattr(Trainer, "step", one_step)
    with pytest.raises(
        TrainingError, match=r"step 3: scores\..* is not finite after the step; the last good state"
    ):
        train(_recipe(6), Short(data.train, 32), tmp_path, quiet=True)
    monkeypatch.undo()
    resumed = train(_recipe(6), Short(data.train, 32), tmp_path, resume=True, quiet=True)
    assert all(torch.isfinite(t).all() for t in resumed.prunable.state_dict().values())


def test_more_processes_than_images_are_refused(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "join_processes", lambda: (0, 17))
    with pytest.raises(TrainingError, match="a batch of 16 images has none for some of 17 processes"):
        train(_recipe(2), Short(data.train, 32), tmp_path, quiet=True)


def test_copying_a_dense_encoder_that_knows_nothing_is_warned_of(data: DataSet, tmp_path: Path) -> None:
    early = _recipe(2, objective="embedding")
    with pytest.warns(UserWarning, match=r"step 0: .* about chance \(.* raise method.dense_share"):
        train(early, Short(data.train, 32), tmp_path / "early", quiet=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(_recipe(2), Short(data.train, 32), tmp_path / "labels", quiet=True)
        warn_of_early_start(5, 3.0, 1000)
