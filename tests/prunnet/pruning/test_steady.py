"""One forward pass must speak for all: what differs by batch, picture or time is refused by name."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.own_modules import layer
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping import find
from prunnet.pruning.prunable import PrunableEncoder


class _Odd(nn.Module):
    """Does something of its own between two layers."""

    def __init__(self, act: Callable[[_Odd, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.end = layer(3, 16), layer(16, 16), layer(16, 16), layer(16, 16)
        self.register_buffer("mean", torch.zeros(16, 1, 1))
        self.count, self._act = 0, act

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self._act(self, self.stem(x)))
        return out


def _alternates(net: _Odd, x: Tensor) -> Tensor:
    net.count += 1
    return 2 * x if net.count % 2 else x


def _averages(net: _Odd, x: Tensor) -> Tensor:
    net.mean.mul_(0.9).add_(x.mean((0, 2, 3)).view(-1, 1, 1))
    return net.a(x)


REFUSED: dict[str, tuple[Callable[[_Odd, Tensor], Tensor], str]] = {
    "batch": (
        lambda net, x: (net.a if len(x) > 3 else net.b)(x),
        r"depends on the batch .* in backbone\.[ab]",
    ),
    "large batch": (
        lambda net, x: net.a(x).flip(1) if len(x) > 20 else net.a(x),
        r"the batch .*flip in backbone",
    ),
    "one": (lambda net, x: x if len(x) == 1 else x.roll(1, 1), r"the batch .*roll in backbone"),
    "brightness": (
        lambda net, x: (net.a if x.mean() > 0.5 else net.b)(x),
        r"the pictures.* in backbone\.[ab]",
    ),
    "spread": (
        lambda net, x: net.b(x) if float(x.std()) > 50 else net.a(x),
        r"the pictures.* in backbone\.[ab]",
    ),
    "counter": (_alternates, r"nor does it itself the second time .* the same each time in eval mode"),
    "buffer": (_averages, r"changes the buffer backbone.mean in eval mode"),
    "random": (lambda net, x: nn.functional.dropout(x, 0.3), r"the same each time in eval mode"),
    "not finite": (lambda net, x: (x - 100).log(), r"not finite"),
}


def _prunable(act: Callable[[_Odd, Tensor], Tensor]) -> PrunableEncoder:
    torch.manual_seed(0)
    return PrunableEncoder(Encoder.from_module(_Odd(act), dimension=4, image_size=(16, 16)).eval())


@pytest.mark.parametrize("kind", REFUSED)
def test_a_forward_that_one_pass_does_not_speak_for_is_refused(kind: str) -> None:
    act, message = REFUSED[kind]
    with pytest.raises(EncoderError, match=message):
        _prunable(act)


def _asserts(net: _Odd, x: Tensor) -> Tensor:
    if torch.isnan(x).any():
        raise ValueError("not a number")
    return net.a(x)


@pytest.mark.parametrize(
    "act",
    [
        _asserts,
        lambda net, x: torch.stack([net.a(row[None])[0] for row in x]),
        lambda net, x: net.a(x) + (torch.arange(x.size(0)) < x.size(0)).float().view(-1, 1, 1, 1),
    ],
)
def test_what_only_looks_at_pictures_or_counts_them_is_cut(act: Callable[[_Odd, Tensor], Tensor]) -> None:
    assert _prunable(act).cutter.groups


def test_a_narrower_network_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(net: _Odd, x: Tensor) -> Tensor:
        if x.size(1) != 16:
            time.sleep(5)
        return net.a(x)

    monkeypatch.setattr(find, "SECONDS", 1.2)
    with pytest.raises(EncoderError, match=r"takes too long; time was up in the module .*a"):
        _prunable(slow)
