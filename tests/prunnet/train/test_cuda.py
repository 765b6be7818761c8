"""What only a GPU can show. CI has none and skips these; docs/research/training.md says where they ran."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch

from prunnet.data.data_set import DataSet
from prunnet.data.glyph_set import glyph_set
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.recipe.recipe import Recipe, load_recipe
from prunnet.train.step.graphs import GraphedStep
from prunnet.train.step.step import Classifier, JointStep
from prunnet.train.training import train
from tests.prunnet.train.test_training import Short

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CAPACITIES = (0.3, 0.6)
METHODS: dict[str, dict[str, object]] = {
    "dense alone": {"name": "magnitude", "capacities": ()},
    "joint": {"name": "joint"},
    "switchnet": {"name": "switchnet"},
    "sfsc": {"name": "sfsc"},
    "weight": {"name": "prunnet-weight"},
    "channel": {"name": "prunnet-channel"},
    "prunnet": {"name": "prunnet", "draw": "listed", "per_step": None},
    "prunnet, scores learned": {"name": "prunnet", "draw": "listed", "per_step": None, "learn_scores": True},
    "masks": {"name": "prunnet", "granularity": "weight", "draw": "listed", "per_step": None},
}


@pytest.fixture(scope="module")
def data() -> DataSet:
    return glyph_set(32)


def _joint(method: str, precision: str = "fp32") -> JointStep:
    torch.manual_seed(5)
    options = {"channels": [16, 16, 32, 32], "layers": [1, 1, 1, 1]}
    encoder = Encoder.from_timm("resnet18", dimension=32, image_size=(32, 32), options=options)
    spec = MethodSpec.model_validate({"capacities": CAPACITIES, **METHODS[method]})
    prunable = PrunableEncoder(
        encoder, CutRule(spec.granularity, 4, adapters=spec.adapters, trained=spec.capacities or CAPACITIES)
    )
    prunable.reset_scores(spec.scores)
    return JointStep(prunable.train(), Classifier(32, 2000, None), spec, precision)


def _on_gpu(joint: JointStep) -> JointStep:
    prunable, classifier = copy.deepcopy(joint.prunable).cuda(), copy.deepcopy(joint.classifier).cuda()
    return JointStep(prunable, classifier, joint.method, joint._precision_name)


def _step(run: JointStep | GraphedStep, data: DataSet, step: int, device: str) -> list[float]:
    joint = run.joint if isinstance(run, GraphedStep) else run
    pixels, labels = (each.to(device) for each in data.train.batch(0, step, 32))
    capacities = joint.method.capacities
    after = joint.method.subnetworks == "after" and capacities
    losses = run.follow(pixels, capacities) if after else run(pixels, labels, capacities)
    return [float(loss) for loss in losses]


@pytest.fixture(autouse=True)
def exact():
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_the_cpu(data: DataSet, method: str) -> None:
    here = _joint(method)
    there = _on_gpu(here)
    losses = _step(here, data, 0, "cpu"), _step(there, data, 0, "cuda")
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for mine, other in zip(here.parameters, there.parameters, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(
                other.grad.cpu(), mine.grad, rtol=1e-3, atol=2e-3 * float(mine.grad.abs().max()) + 1e-6
            )


def _state(joint: JointStep) -> list[torch.Tensor]:
    return [*joint.prunable.state_dict().values(), *joint.classifier.state_dict().values()]


def _rank_otherwise(joint: JointStep, step: int) -> None:
    """Change the scores so that other channels or weights are kept, as a long training would."""
    if joint.method.learn_scores:
        generator = torch.Generator("cuda").manual_seed(step)
        with torch.no_grad():
            for score in joint.prunable.scores.values():
                score.normal_(generator=generator)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_step_is_the_step(data: DataSet, method: str, precision: str) -> None:
    plain = _on_gpu(_joint(method, precision))
    graphed = GraphedStep(_on_gpu(plain))
    optimizer = torch.optim.AdamW(graphed.joint.parameters, lr=0.01)
    for step in range(8):
        for mine, other in zip(_state(plain), _state(graphed.joint), strict=True):
            mine.copy_(other)
        wanted, found = _step(plain, data, step, "cuda"), _step(graphed, data, step, "cuda")
        assert found == pytest.approx(wanted, rel=1e-5 if precision == "fp32" else 1e-2)
        pairs = list(zip(plain.parameters, graphed.joint.parameters, strict=True))
        assert all((a.grad is None) == (b.grad is None) for a, b in pairs)
        gradients = [(a.grad.flatten(), b.grad.flatten()) for a, b in pairs if a.grad is not None]
        one, other = (torch.cat(side) for side in zip(*gradients, strict=True))
        assert (one - other).norm() <= (1e-4 if precision == "fp32" else 0.2) * one.norm(), step
        for mine, other in zip(_state(plain), _state(graphed.joint), strict=True):
            torch.testing.assert_close(other, mine, rtol=1e-2, atol=1e-3)
        optimizer.step()
        _rank_otherwise(graphed.joint, step)
    assert graphed.recorded == 1


def test_two_kinds_of_steps_take_turns(data: DataSet) -> None:
    """Recordings share memory; each must leave the other what it needs."""
    plain = _on_gpu(_joint("prunnet"))
    graphed = GraphedStep(_on_gpu(plain))
    optimizer = torch.optim.AdamW(graphed.joint.parameters, lr=0.01)
    for step in range(16):
        capacities = CAPACITIES if step % 2 else (0.3, 0.8)
        for mine, other in zip(_state(plain), _state(graphed.joint), strict=True):
            mine.copy_(other)
        pixels = data.train.batch(0, step, 32)[0].cuda()
        wanted = plain.follow(pixels, capacities).tolist()
        assert graphed.follow(pixels, capacities) == pytest.approx(wanted, rel=1e-5)
        subnetworks = [run.prunable.at(0.5).extract().state_dict() for run in (plain, graphed.joint)]
        for name, tensor in subnetworks[0].items():
            torch.testing.assert_close(subnetworks[1][name], tensor, rtol=1e-4, atol=1e-5)
        optimizer.step()
    assert graphed.recorded == 2


def test_a_step_that_waits_for_the_gpu_is_run_as_it_is(data: DataSet) -> None:
    class Waits(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features * (1.0 if float(features.detach().sum()) > -1e30 else 0.0)

    joint = _joint("dense alone")
    joint.prunable.encoder.backbone = torch.nn.Sequential(joint.prunable.encoder.backbone, Waits())
    graphed = GraphedStep(_on_gpu(joint))
    with pytest.warns(UserWarning, match="cannot be recorded"):
        losses = [_step(graphed, data, step, "cuda")[0] for step in range(4)]
    assert graphed.recorded == 0 and all(torch.isfinite(torch.tensor(losses)))
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    other = GraphedStep(_on_gpu(_joint("joint")))
    for step in range(4):
        _step(other, data, step, "cuda")
    assert other.recorded == 1


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_subnetworks_are_those_of_the_cpu(granularity: str) -> None:
    prunable = _joint("joint").prunable
    prunable = PrunableEncoder(prunable.encoder, CutRule(granularity, 4))
    with torch.no_grad():
        for score in prunable.scores.values():
            score.copy_((4 * score).round())  # ties
    there = copy.deepcopy(prunable).cuda()
    for capacity in (0.3, 0.5, 0.8):
        for mine, other in zip(prunable.at(capacity).kept(), there.at(capacity).kept(), strict=True):
            assert torch.equal(mine, other.cpu())


@pytest.fixture
def recipe() -> Recipe:
    tiny = load_recipe("glyphs-tiny")
    strong = {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.5, "classifier": "cosine"}
    schedule = tiny.schedule.model_copy(
        update={"steps": 400, "batch_size": 128, "precision": "auto", "scale": 10.0, **strong}
    )
    return tiny.model_copy(update={"schedule": schedule})


def test_a_run_in_bfloat16_learns(data: DataSet, recipe: Recipe, tmp_path: Path) -> None:
    source = Short(data.train, 6400)
    trained = train(recipe, source, tmp_path, quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["losses"]["dense"] < math.log(source.classes) - 0.1 < lines[0]["losses"]["dense"], lines
    assert all(p.device.type == "cpu" and p.dtype == torch.float32 for p in trained.prunable.parameters())


def test_a_resumed_run_equals_an_uninterrupted_one(data: DataSet, recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"steps": 30})})
    source = Short(data.train, 1280)
    whole = train(recipe, source, tmp_path / "whole", quiet=True)
    original = source.batch

    def broken(seed: int, step: int, count: int):
        if step == 25:
            raise OSError("pulled out")
        return original(seed, step, count)

    source.batch = broken
    with pytest.raises(OSError, match="pulled out"):
        train(recipe, source, tmp_path / "cut", quiet=True)
    source.batch = original
    resumed = train(recipe, source, tmp_path / "cut", resume=True, quiet=True)
    for name, tensor in whole.prunable.state_dict().items():
        assert torch.equal(tensor, resumed.prunable.state_dict()[name]), name
