from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.step import Classifier, JointStep
from prunnet.train.step.synced import joined_statistics, share

CAPACITIES = (0.3, 0.6)
CASES: dict[str, tuple[int, dict[str, object]]] = {
    "channel": (8, {"granularity": "channel"}),
    "channel, a share larger than the other": (7, {"granularity": "channel", "distillation": 0.5}),
    "weight": (8, {"granularity": "weight", "scores": "random"}),
    "weight, a share larger than the other": (5, {"granularity": "weight", "alpha": 0.0}),
    "adapters": (7, {"adapters": "smooth", "objective": "embedding", "balance": 0.5, "protect_dense": True}),
    "following": (7, {"name": "prunnet", "draw": "listed", "per_step": None, "learn_scores": True}),
    "uncertainty": (7, {"weighting": "uncertainty", "dense_only": ()}),
}


def _joint(method: dict[str, object]) -> JointStep:
    torch.manual_seed(5)
    options = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}
    encoder = Encoder.from_timm("resnet18", dimension=16, image_size=(32, 32), options=options)
    spec = MethodSpec.model_validate({"name": "prunnet-channel", "capacities": CAPACITIES, **method})
    prunable = PrunableEncoder(
        encoder, CutRule(spec.granularity, 4, adapters=spec.adapters, trained=CAPACITIES)
    )
    if prunable.adapters is not None:
        for correction in prunable.adapters.parameters():
            nn.init.uniform_(correction, -0.1, 0.1)
    # Double: what differs between the two ways of summing is then rounding of the losses alone.
    return JointStep(prunable.double(), Classifier(16, 10, None).double(), spec, "fp32")


def _gradients(case: str, rank: int, world: int) -> dict[str, Tensor]:
    """One step on a process's share of a fixed batch: gradients, losses and what became of the statistics."""
    count, method = CASES[case]
    joint = _joint(method)
    torch.manual_seed(6)
    # Shares that differ in brightness: own statistics would be far from the joint ones.
    pixels = 255 * torch.rand(count, 3, 32, 32, dtype=torch.float64)
    pixels *= torch.linspace(0.2, 1, count)[:, None, None, None]
    labels = torch.arange(count) % 10
    joint.prunable.train()
    if joint.method.subnetworks == "after":
        losses = joint.follow(pixels[rank::world], CAPACITIES)
    else:
        losses = joint(pixels[rank::world], labels[rank::world], CAPACITIES)
    result = {f"gradient {n}": p.grad for n, p in enumerate(joint.parameters) if p.grad is not None}
    result |= {f"statistics {n}": b.detach() for n, b in joint.prunable.encoder.named_buffers()}
    return {**result, "losses": losses.detach().float()}


def _main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.save({case: _gradients(case, rank, 2) for case in CASES}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("two")
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.prunnet.train.test_synced", str(folder)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_gradients_of_one_on_the_joined_batch(case: str, found: list) -> None:
    wanted = _gradients(case, 0, 1)
    for process in found:
        assert process[case].keys() == wanted.keys()
        for name, values in wanted.items():
            scale = float(values.abs().max()) if values.numel() else 0.0
            torch.testing.assert_close(
                process[case][name],
                values,
                atol=2e-6 * scale + 1e-9,
                rtol=0,
                msg=lambda m, n=name: f"{n}: {m}",
            )
    scores = len(_joint(CASES[case][1]).prunable.scores)
    assert sum(name.startswith("gradient") for name in wanted) > scores > 0


def test_statistics_of_the_own_share_would_not_do() -> None:
    whole, half = _gradients("channel", 0, 1), _gradients("channel", 0, 2)
    assert max(float((whole[n] - half[n]).abs().max() / whole[n].abs().max()) for n in whole) > 0.1


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 5)], ids=["1d", "2d"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_joined_norm_is_batch_norm(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process whose messages come back as they are: everything but the joining against torch's own."""
    torch.manual_seed(0)
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    norms = [kind(4).to(torch.float64 if dtype == torch.float64 else torch.float32) for _ in range(2)]
    x = (3 + 2 * torch.randn(shape)).to(dtype)
    inputs = [x.clone().requires_grad_() for _ in norms]
    outputs = [norms[0](inputs[0])]
    for name, value in {"is_initialized": True, "get_world_size": 1, "all_reduce": None}.items():
        monkeypatch.setattr(dist, name, lambda *_, v=value: v)
    monkeypatch.setattr(dist, "all_gather", lambda found, own: found[0].copy_(own))
    with joined_statistics():
        outputs.append(norms[1](inputs[1]))
    for out, weight in zip(outputs, (torch.randn(shape).to(dtype),) * 2, strict=True):
        out.backward(weight)
    close = {"atol": 1e-9, "rtol": 1e-9} if dtype == torch.float64 else {"atol": 3e-2, "rtol": 3e-2}
    assert outputs[1].dtype == outputs[0].dtype == dtype
    torch.testing.assert_close(outputs[1], outputs[0], **close)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, **close)
    for (name, a), b in zip(norms[1].state_dict().items(), norms[0].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, **close, msg=name)
    torch.testing.assert_close(norms[1].weight.grad, norms[0].weight.grad, **close)


def test_one_process_alone_keeps_torchs_norm() -> None:
    seen = SimpleNamespace(calls=0)

    class Counts(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.calls += func is F.batch_norm
            return func(*args, **(kwargs or {}))

    with Counts(), joined_statistics():
        nn.BatchNorm1d(3)(torch.randn(4, 3))
    assert seen.calls == 1 and share(7, torch.device("cpu")) == 1


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
