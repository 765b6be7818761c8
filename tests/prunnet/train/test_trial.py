"""What would fail in the first training step is refused before it, by name, and the trial leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.own_modules import layer
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step import trial
from prunnet.train.step.step import Classifier, JointStep


class _Odd(nn.Module):
    """Runs two layers in a way of its own."""

    def __init__(self, run: Callable[[_Odd, Tensor], object]) -> None:
        super().__init__()
        self.stem, self.a, self.end = layer(3, 16), layer(16, 16), layer(16, 16)
        self._run = run

    def forward(self, x: Tensor) -> object:
        return self._run(self, x)


def _overwrites(net: _Odd, x: Tensor) -> Tensor:
    x = net.stem(x)
    y = torch.exp(x)
    y += 1
    out: Tensor = net.end(y)
    return out


def _asks_for_more(net: _Odd, x: Tensor) -> Tensor:
    if net.training and len(x) < 4:
        raise ValueError("four pictures are the least")
    out: Tensor = net.end(net.stem(x))
    return out


def _numpy(net: _Odd, x: Tensor) -> Tensor:
    x = net.stem(x)
    out: Tensor = net.end(x * torch.from_numpy(x.numpy().std((1, 2, 3), keepdims=True)))
    return out


REFUSED: dict[str, tuple[Callable[[_Odd, Tensor], object], str]] = {
    "reentrant": (
        lambda net, x: net.end(checkpoint(net.a, net.stem(x), use_reentrant=True)),
        r"the encoder fails in the backward pass, in the module backbone.*leave out torch.utils.checkpoint",
    ),
    "reentrant on pictures": (
        lambda net, x: net.end(checkpoint(net.stem, x, use_reentrant=True)),
        r"the encoder fails in the forward pass, .*leave out torch.utils.checkpoint",
    ),
    "checkpoint": (
        lambda net, x: net.end(checkpoint(net.a, net.stem(x), use_reentrant=False)),
        r"capacity 0.5 fails in the backward pass, in the module backbone.*leave out torch.utils.checkpoint",
    ),
    "in place": (_overwrites, r"backward pass, in the module backbone\.\S+ .*x = x \+ y instead of x \+= y"),
    "training only": (_asks_for_more, r"forward pass, in the module backbone \(_Odd\): ValueError: four"),
    "auxiliary": (
        lambda net, x: (net.end(net.stem(x)), x) if net.training else net.end(net.stem(x)),
        r"in the module backbone \(_Odd\): TypeError: it returns a tuple in training mode",
    ),
    "numpy": (_numpy, r"forward pass, in the module backbone \(_Odd\): RuntimeError: Can't call numpy"),
}


def _joint(
    run: Callable[[_Odd, Tensor], object], granularity: str, capacities: tuple[float, ...]
) -> JointStep:
    torch.manual_seed(0)
    encoder = Encoder.from_module(_Odd(run), dimension=4, image_size=(16, 16)).eval()
    prunable = PrunableEncoder(encoder, CutRule(granularity, channel_multiple=4))
    prunable.train()
    return JointStep(
        prunable, Classifier(4, 2, None), MethodSpec(granularity=granularity, capacities=capacities)
    )


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_fail_in_the_first_step_is_refused_before_it(kind: str, granularity: str) -> None:
    run, message = REFUSED[kind]
    with pytest.raises(EncoderError, match=message):
        _joint(run, granularity, (0.5,))


def test_a_checkpoint_that_works_for_the_dense_encoder_alone_is_no_fault() -> None:
    joint = _joint(REFUSED["checkpoint"][0], "weight", ())
    assert joint(torch.rand(4, 3, 16, 16) * 255, torch.arange(4) % 2, ()).isfinite().all()


def _draws(net: _Odd, x: Tensor) -> Tensor:
    if net.training:
        x = nn.functional.dropout(x, 0.1) * (1 + random.random() + float(np.random.rand()))
    out: Tensor = net.end(net.a(net.stem(x)))
    return out


def test_the_trial_leaves_statistics_gradients_modes_and_random_numbers_alone() -> None:
    encoder = Encoder.from_module(_Odd(_draws), dimension=4, image_size=(16, 16)).eval()
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4))
    before = {name: t.clone() for name, t in prunable.state_dict().items()}
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    trial.check_trains(prunable, (0.5,), lambda pixels: torch.autocast("cpu", enabled=False))
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected
    assert all(torch.equal(t, before[name]) for name, t in prunable.state_dict().items())
    assert all(p.grad is None for p in prunable.parameters())
    assert not any(m.training for m in encoder.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())


def test_a_step_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", -1.0)
    with pytest.raises(
        EncoderError, match=r"a training step on two pictures takes too long; .*in the module pixels"
    ):
        _joint(_draws, "channel", (0.5,))
