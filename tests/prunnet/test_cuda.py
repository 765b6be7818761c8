"""What only a GPU can show. CI has none and says that these were skipped; docs/training.md says where they ran."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch

from prunnet.channel import ChannelCut
from prunnet.data.glyph_set import glyph_set
from prunnet.data.source import DataSet
from prunnet.encoder import Encoder
from prunnet.prunable import PrunableEncoder
from prunnet.train.graphs import GraphedStep
from prunnet.train.method import MethodSpec
from prunnet.train.recipe import load_recipe
from prunnet.train.step import Classifier, JointStep
from prunnet.train.trainer import train
from tests.prunnet.test_training import Short

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
    prunable = PrunableEncoder(encoder, spec.granularity, 4, spec.adapters, spec.capacities or CAPACITIES)
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_replayed_steps_are_the_steps_one_by_one(data: DataSet, method: str, precision: str) -> None:
    joint = _joint(method, precision)
    runs: dict[str, JointStep | GraphedStep] = {
        "plain": _on_gpu(joint),
        "replayed": GraphedStep(_on_gpu(joint)),
    }
    losses: dict[str, list[list[float]]] = {}
    ends: dict[str, list[torch.Tensor]] = {}
    for name, run in runs.items():
        owner = run.joint if isinstance(run, GraphedStep) else run
        optimizer = torch.optim.SGD(owner.parameters, lr=0.05, momentum=0.9)
        losses[name] = []
        for step in range(6):
            losses[name].append(_step(run, data, step, "cuda"))
            optimizer.step()
        ends[name] = [*owner.prunable.state_dict().values()]
    assert [graph is not None for graph in runs["replayed"]._seen.values()] == [True]
    for plain, replayed in zip(losses["plain"], losses["replayed"], strict=True):
        assert replayed == pytest.approx(plain, rel=1e-3 if precision == "fp32" else 1e-2)
    for plain, replayed in zip(ends["plain"], ends["replayed"], strict=True):
        if plain.is_floating_point():
            atol = (2e-3 if precision == "fp32" else 2e-2) * float(plain.abs().max()) + 1e-6
            torch.testing.assert_close(replayed, plain, rtol=0, atol=atol)
        else:
            assert torch.equal(plain, replayed)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_subnetworks_are_those_of_the_cpu(granularity: str) -> None:
    prunable = _joint("joint").prunable
    prunable = PrunableEncoder(prunable.encoder, granularity, 4)
    with torch.no_grad():
        for score in prunable.scores.values():
            score.copy_((4 * score).round())  # ties
    there = copy.deepcopy(prunable).cuda()
    for capacity in (0.3, 0.5, 0.8):
        if isinstance(prunable.cutter, ChannelCut):
            pairs = zip(
                prunable.cutter.kept(capacity, prunable.ranking, 4),
                there.cutter.kept(capacity, there.ranking, 4),
                strict=True,
            )
        else:
            pairs = (
                (
                    prunable.cutter.mask(name, capacity, prunable.ranking),
                    there.cutter.mask(name, capacity, there.ranking),
                )
                for name in prunable.cutter.shapes
            )
        for mine, other in pairs:
            assert torch.equal(mine, other.cpu())


def test_a_run_in_bfloat16_learns_and_resumes(data: DataSet, tmp_path: Path) -> None:
    tiny = load_recipe("glyphs-tiny")
    strong = {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.5, "classifier": "cosine"}
    schedule = tiny.schedule.model_copy(
        update={"steps": 400, "batch_size": 128, "precision": "auto", "scale": 10.0, **strong}
    )
    recipe, source = tiny.model_copy(update={"schedule": schedule}), Short(data.train, 6400)
    whole = train(recipe, source, tmp_path / "whole", quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["losses"]["dense"] < math.log(source.classes) - 0.2 < lines[0]["losses"]["dense"], lines
    assert all(p.device.type == "cpu" and p.dtype == torch.float32 for p in whole.prunable.parameters())

    original = source.batch

    def broken(seed: int, step: int, count: int):
        if step == 370:
            raise OSError("pulled out")
        return original(seed, step, count)

    source.batch = broken
    with pytest.raises(OSError, match="pulled out"):
        train(recipe, source, tmp_path / "cut", quiet=True)
    source.batch = original
    resumed = train(recipe, source, tmp_path / "cut", resume=True, quiet=True)
    for name, tensor in whole.prunable.state_dict().items():
        assert torch.equal(tensor, resumed.prunable.state_dict()[name]), name
