from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from prunnet.data.data_set import DataSet
from prunnet.data.glyph_set import glyph_set
from prunnet.encoder.encoder import Encoder
from prunnet.errors import TrainingError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.checkpoint.checkpoint import FILE
from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.recipe.recipe import FollowSpec, Recipe, ScheduleSpec, load_recipe
from prunnet.train.recipe.schedule import learning_rate
from prunnet.train.step.step import Classifier, JointStep
from prunnet.train.training import train


@pytest.fixture(scope="module")
def data() -> DataSet:
    return glyph_set(32)


class Short:
    """The first items of a source: a short epoch."""

    def __init__(self, source, size: int) -> None:
        self._source, self.size, self.classes = source, size, source.classes

    def batch(self, seed: int, step: int, count: int):
        return self._source.batch(seed, step, count)

    def calibration(self, count: int):
        return self._source.calibration(count)


class InterruptedRunError(Exception):
    pass


class Stops(Short):
    """Ends the run before its sixth step."""

    def batch(self, seed: int, step: int, count: int):
        if step == 5:
            raise InterruptedRunError
        return super().batch(seed, step, count)


def _recipe(steps: int = 6, **method) -> Recipe:
    tiny = load_recipe("glyphs-tiny")
    after = method.get("subnetworks") == "after"
    follow = FollowSpec(steps=steps - steps // 3, learning_rate=0.01, turned=0.5)
    rounds = {"steps": steps // 3, "follow": follow}
    schedule = tiny.schedule.model_copy(update={"batch_size": 16, **(rounds if after else {"steps": steps})})
    encoder = tiny.encoder.model_copy(
        update={"options": {"channels": [8, 16, 16, 24], "layers": [1, 1, 1, 1]}}
    )
    return tiny.model_copy(
        update={"schedule": schedule, "encoder": encoder, "method": tiny.method.model_copy(update=method)}
    )


def _losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line)["losses"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "method",
    [
        {"adapters": "smooth", "per_step": 1, "dense_share": 0.3, "objective": "embedding", "balance": 0.5},
        {"granularity": "weight", "scores": "random"},
        {
            "subnetworks": "after",
            "adapters": "full",
            "objective": "embedding",
            "draw": "sandwich",
            "per_step": 2,
        },
    ],
    ids=["channel", "weight", "following"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(data: DataSet, tmp_path: Path, method: dict) -> None:
    recipe, source = _recipe(6, **method), Short(data.train, 32)  # an epoch is two steps
    whole = train(recipe, source, tmp_path / "whole", quiet=True).prunable

    with pytest.raises(InterruptedRunError):
        train(recipe, Stops(data.train, 32), tmp_path / "parts", quiet=True)
    resumed = train(recipe, source, tmp_path / "parts", resume=True, quiet=True).prunable
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_training_learns(data: DataSet, tmp_path: Path) -> None:
    class OneBatch(Short):
        def batch(self, seed: int, step: int, count: int):
            return super().batch(seed, 0, count)

    train(_recipe(60, capacities=(0.3,)), OneBatch(data.train, 16), tmp_path, quiet=True)
    losses = _losses(tmp_path)
    assert losses[-1]["dense"] < 0.5 * losses[0]["dense"]
    assert losses[-1]["0.3"] < 0.8 * losses[0]["0.3"]


def test_only_the_dense_loss_moves_classifier_projector_and_norms(data: DataSet) -> None:
    torch.manual_seed(0)
    encoder = Encoder.from_timm(
        "resnet18",
        dimension=16,
        image_size=(32, 32),
        options={"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]},
    )
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4))
    classifier = Classifier(16, data.train.classes, None)
    pixels, labels = data.train.batch(0, 0, 8)
    alone = JointStep(prunable, classifier, MethodSpec(name="prunnet-channel", capacities=()))
    alone(pixels, labels, ())
    wanted = {id(p): p.grad.clone() for p in alone.parameters if p.grad is not None}
    joint = JointStep(
        prunable, classifier, MethodSpec(name="prunnet-channel", capacities=(0.4,), project=False, alpha=0)
    )
    joint(pixels, labels, (0.4,))
    norms = [p for n, p in encoder.named_parameters() if ".bn" in n or "downsample.1" in n]
    for parameter in (*norms, *encoder.head.parameters(), *classifier.parameters()):
        assert torch.equal(parameter.grad, wanted[id(parameter)])
    conv = encoder.backbone.layer1[0].conv1.weight
    assert not torch.equal(conv.grad, wanted[id(conv)])


def test_the_step_equals_plain_autograd_on_the_sum_of_losses(data: DataSet) -> None:
    torch.manual_seed(0)
    options = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}
    encoder = Encoder.from_timm("resnet18", dimension=16, image_size=(32, 32), options=options)
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4))
    classifier = Classifier(16, data.train.classes, None)
    pixels, labels = data.train.batch(0, 1, 8)
    JointStep(
        prunable,
        classifier,
        MethodSpec(name="prunnet-channel", capacities=(0.3, 0.6), project=False, alpha=0),
    )(pixels, labels, (0.3, 0.6))
    named = dict(encoder.named_parameters())
    total = F.cross_entropy(classifier(encoder.features(pixels)), labels)
    for capacity in (0.3, 0.6):
        total = total + F.cross_entropy(classifier(prunable.features_at(capacity, pixels, named)), labels)
    conv = encoder.backbone.layer2[0].conv1.weight
    (wanted,) = torch.autograd.grad(total, conv)
    torch.testing.assert_close(conv.grad, wanted, atol=1e-6, rtol=1e-4)


def test_a_nan_loss_names_the_step_and_keeps_the_checkpoint(data: DataSet, tmp_path: Path) -> None:
    class Poisoned(Short):
        def batch(self, seed: int, step: int, count: int):
            pixels, labels = super().batch(seed, step, count)
            return (pixels * float("nan") if step == 3 else pixels), labels

    with pytest.raises(TrainingError, match=r"step 3: a loss is not finite.*last good state is .*checkpoint"):
        train(_recipe(6), Poisoned(data.train, 32), tmp_path, quiet=True)
    resumed = train(_recipe(6), Short(data.train, 32), tmp_path, resume=True, quiet=True).prunable
    assert all(torch.isfinite(t).all() for t in resumed.state_dict().values())


def test_a_folder_with_a_run_is_not_overwritten(data: DataSet, tmp_path: Path) -> None:
    source = Short(data.train, 32)
    train(_recipe(2), source, tmp_path, quiet=True)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(_recipe(2), source, tmp_path, quiet=True)
    with pytest.raises(TrainingError, match="another recipe"):
        train(_recipe(4), source, tmp_path, resume=True, quiet=True)
    (tmp_path / FILE).write_bytes(b"\0" * 100)
    with pytest.raises(TrainingError, match="is damaged"):
        train(_recipe(2), source, tmp_path, resume=True, quiet=True)


def test_schedule() -> None:
    recipe = load_recipe("glyphs")
    schedule = recipe.schedule
    rates = [learning_rate(schedule, s) for s in range(schedule.steps)]
    assert max(rates) <= schedule.learning_rate and rates[-1] < schedule.learning_rate / 1000
    assert rates[0] == pytest.approx(schedule.learning_rate / schedule.warmup_steps)
    assert recipe.dense_alone().method.capacities == ()


def test_capacities_are_drawn_evenly_after_the_dense_share() -> None:
    method = MethodSpec(
        name="prunnet-channel", capacities=(0.1, 0.2, 0.4, 0.6, 0.8), per_step=2, dense_share=0.25
    )
    schedule = ScheduleSpec(steps=1000)
    assert capacities_of_step(method, schedule, 0, 249) == ()
    drawn = [capacities_of_step(method, schedule, 0, s) for s in range(250, 750)]
    assert all(len(set(d)) == 2 and list(d) == sorted(d) for d in drawn)
    counts = {c: sum(c in d for d in drawn) for c in method.capacities}
    assert all(160 < n < 240 for n in counts.values()), counts


def test_the_second_round() -> None:
    recipe = load_recipe("glyphs")
    schedule, follow = recipe.schedule, recipe.schedule.follow
    assert follow is not None and schedule.total == schedule.steps + follow.steps
    rates = [learning_rate(schedule, step) for step in range(schedule.steps, schedule.total)]
    assert 0.95 * follow.learning_rate < max(rates) <= follow.learning_rate
    assert rates[0] < 0.02 * follow.learning_rate and rates[-1] < follow.learning_rate / 1000
    assert capacities_of_step(recipe.method, schedule, 0, schedule.steps - 1) == ()
    drawn = capacities_of_step(recipe.method, schedule, 0, schedule.steps)
    assert len(drawn) == recipe.method.per_step and drawn[0] == recipe.method.capacities[0]
    alone = recipe.dense_alone()
    assert alone.schedule.total == schedule.total and alone.schedule.follow is None
    assert capacities_of_step(alone.method, alone.schedule, 0, schedule.steps) == ()


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_the_dense_encoder_rests_in_the_second_round(data: DataSet, tmp_path: Path, granularity: str) -> None:
    """It is, bit for bit, the one that trains alone for the first round's steps; the subnetworks do learn."""
    source = Short(data.train, 32)
    follows = {"name": "prunnet", "granularity": granularity, "capacities": [0.3]}
    follows |= {"channel_multiple": 4} if granularity == "channel" else {}
    recipe = _recipe(4)
    second = FollowSpec(steps=12, learning_rate=0.01)
    schedule = recipe.schedule.model_copy(update={"optimizer": "adamw", "learning_rate": 0.003})
    method = MethodSpec.model_validate(follows)
    both = recipe.model_copy(
        update={"method": method, "schedule": schedule.model_copy(update={"follow": second})}
    )
    trained = train(both, source, tmp_path / "both", quiet=True).prunable
    alone = both.model_copy(
        update={"method": method.model_copy(update={"capacities": ()}), "schedule": schedule}
    )
    dense = train(alone, source, tmp_path / "dense", quiet=True).prunable
    for name, tensor in dense.encoder.state_dict().items():
        assert torch.equal(tensor, trained.encoder.state_dict()[name]), name
    losses = [line["0.3"] for line in _losses(tmp_path / "both") if "0.3" in line]
    assert len(losses) == 6 and losses[-1] < 0.8 * losses[0], losses


def test_following_equals_plain_autograd(data: DataSet) -> None:
    encoder = Encoder.from_timm(
        "resnet18",
        dimension=16,
        image_size=(32, 32),
        options={"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]},
    )
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4, adapters="full"))
    for correction in prunable.adapters.parameters():
        torch.nn.init.uniform_(correction, -0.1, 0.1)
    method = MethodSpec(
        name="prunnet", capacities=(0.3, 0.6), draw="listed", per_step=None, learn_scores=True
    )
    step = JointStep(prunable.train(), Classifier(16, 5, None), method)
    pixels, _ = data.train.batch(0, 1, 8)
    losses = step.follow(pixels, (0.3, 0.6))
    assert all(p.grad is None for p in (*encoder.parameters(), *step.classifier.parameters()))
    goal = copy.deepcopy(encoder).train()(pixels).detach()
    named, total = dict(encoder.named_parameters()), torch.zeros(())
    gates: dict[str, torch.Tensor] = {}
    for capacity, loss in zip((0.3, 0.6), losses, strict=True):
        own = F.normalize(prunable.features_at(capacity, pixels, named), dim=1)
        distance = (1 - (own * goal).sum(1)).mean()
        assert loss == pytest.approx(distance.item(), abs=1e-6)
        total = total + distance
        # The gate of a unit scales what reads it: its gradient is that of the weights, as the subnetwork has them.
        used = {n: p.detach() for n, p in prunable.at(capacity).adapted(named).items()}
        found = torch.autograd.grad(distance, list(named.values()), retain_graph=True, allow_unused=True)
        gradients = {n: g for n, g in zip(named, found, strict=True) if g is not None}
        for name, gradient in prunable.cutter.score_gradients(used, gradients).items():
            gates[name] = gates.get(name, 0) + gradient * prunable.scores[name].detach().sign()
    corrections = list(prunable.adapters.parameters())
    for correction, wanted in zip(corrections, torch.autograd.grad(total, corrections), strict=True):
        torch.testing.assert_close(correction.grad, wanted, atol=1e-6, rtol=1e-4)
    assert any(gradient.any() for gradient in gates.values())
    for name, score in prunable.scores.items():
        torch.testing.assert_close(score.grad, gates[name], atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            import torch
            import torch.distributed as dist
            from prunnet.data.glyph_set import glyph_set
            from prunnet.train.processes import leave_processes
            from prunnet.train.training import train
            from tests.prunnet.train.test_training import Short, _recipe
            source = Short(glyph_set(32).train, 32)
            prunable = train(_recipe(4, adapters="smooth"), source, Path(sys.argv[1]), quiet=True).prunable
            weights = torch.cat([p.detach().flatten() for p in prunable.parameters()])
            both = [torch.empty_like(weights) for _ in range(2)]
            dist.all_gather(both, weights)
            assert torch.equal(*both), "the processes drifted apart"
            print("first" if leave_processes() else "second")
            """
        )
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29517",
    ]
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(script), str(tmp_path / "run")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # The two processes share a pipe: their lines may run into one another.
    assert done.stdout.count("first") == done.stdout.count("second") == 1, done.stdout
    assert (tmp_path / "run" / FILE).exists()


@pytest.mark.slow
def test_a_killed_training_resumes(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from prunnet.data.glyph_set import glyph_set
        from prunnet.train.training import train
        from tests.prunnet.train.test_training import Short, _recipe
        train(_recipe(200), Short(glyph_set(32).train, 32), Path(sys.argv[1]), quiet=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 120
    while not (tmp_path / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    train(_recipe(200), Short(glyph_set(32).train, 32), tmp_path, resume=True, quiet=True)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(2, 201, 2))
