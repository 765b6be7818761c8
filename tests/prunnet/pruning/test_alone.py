"""An embedding is of its picture alone: a network that mixes the pictures of a batch is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.own_modules import REFUSED, BatchStatistics, layer
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule


class _Middle(nn.Module):
    """Does something of its own between two layers."""

    def __init__(self, act: Callable[[_Middle, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.norm, self.end = layer(3, 16), nn.BatchNorm2d(16), layer(16, 16)
        self.gate = nn.Parameter(torch.zeros(1))
        self._act = act

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self._act(self, self.stem(x)))
        return out


def _prunable(net: nn.Module, granularity: str) -> PrunableEncoder:
    torch.manual_seed(0)
    return PrunableEncoder(
        Encoder.from_module(net, dimension=4, image_size=(32, 32)).eval(), CutRule(granularity)
    )


def _train_mode(net: _Middle, x: Tensor) -> Tensor:
    out: Tensor = net.norm.train()(x)
    return out


MIXING: dict[str, tuple[Callable[[_Middle, Tensor], Tensor], str]] = {
    "mean": (lambda _, x: x - x.mean(0), r"from Tensor\.mean in backbone on"),
    "standard deviation": (lambda _, x: x / (1 + x.std(0, correction=0)), r"from Tensor\.std in backbone on"),
    "softmax": (lambda _, x: x.softmax(0), r"from Tensor\.softmax in backbone on"),
    "largest": (lambda _, x: x / x.amax().clamp(min=1e-3), r"from Tensor\.amax in backbone on"),
    "number of pictures": (lambda _, x: x / len(x), r"from Tensor\.\w+ in backbone on"),
    "statistics": (
        lambda _, x: F.batch_norm(x, None, None, training=True),
        r"from nn\.functional\.batch_norm in backbone on; .*use running statistics",
    ),
    "closed gate": (lambda net, x: x + net.gate * x.roll(1, 0), r"from Tensor\.roll in backbone on"),
    "a norm in training mode": (_train_mode, r"changes the buffer backbone\.norm\.running_mean in eval mode"),
}


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("kind", MIXING)
def test_a_network_that_mixes_pictures_is_refused(kind: str, granularity: str) -> None:
    act, message = MIXING[kind]
    with pytest.raises(EncoderError, match=message):
        _prunable(_Middle(act), granularity)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_a_norm_without_running_statistics_is_named(granularity: str) -> None:
    assert REFUSED == ("BatchStatistics",)
    with pytest.raises(EncoderError, match=r"batch_norm .*in backbone\.norm on; .*track_running_stats=True"):
        _prunable(BatchStatistics(), granularity)


def _gradient(net: _Middle, x: Tensor) -> Tensor:
    with torch.enable_grad():
        source = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net.norm(source).square().sum(), source)
    return x + gradient


HONEST: dict[str, Callable[[_Middle, Tensor], Tensor]] = {
    "its own mean": lambda _, x: x - x.mean((2, 3), keepdim=True),
    "one by one": lambda net, x: torch.stack([net.norm(row[None])[0] for row in x]),
    "rounded": lambda _, x: (8 * x).round() / 8,
    "16 bits": lambda _, x: (x.bfloat16() * 1.1).float(),
}


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("kind", HONEST)
def test_what_looks_at_each_picture_by_itself_is_not_refused(kind: str, granularity: str) -> None:
    assert _prunable(_Middle(HONEST[kind]), granularity).capacities()[0] < 1


def test_a_forward_that_takes_gradients_has_no_channels_that_could_be_followed() -> None:
    assert _prunable(_Middle(_gradient), "weight").capacities()[0] < 1
    with pytest.raises(
        EncoderError, match=r"backbone.* no gradient can be taken: .*use granularity 'weight'"
    ):
        _prunable(_Middle(_gradient), "channel")
