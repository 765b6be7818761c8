"""Modules that cannot become a backbone, or cannot be cut and stored: refused by name, with what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from benchmarks.own_modules import layer
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.package.tensors import read_header
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.step import Classifier, JointStep


def _encoder(net: nn.Module) -> Encoder:
    return Encoder.from_module(net, dimension=4, image_size=(16, 16)).eval()


def _plain() -> nn.Sequential:
    return nn.Sequential(layer(3, 16), layer(16, 16))


def _old_weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.Conv2d(16, 16, 3))


def _pruned() -> nn.Module:
    net = _plain()
    prune.l1_unstructured(net[1][0], "weight", 0.5)
    return net


def _locked() -> nn.Module:
    net = _plain()
    net.lock = threading.Lock()
    return net


def _computed() -> nn.Module:
    net = _plain()
    net.scale = 2 * net[0][0].weight
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_old_weight_norm, r"weight of 0 .*use torch.nn.utils.parametrizations.weight_norm"),
        (_pruned, r"weight of 1.0 .*torch.nn.utils.prune.remove"),
        (_computed, r"scale of itself is computed .*forward"),
        (_locked, r"cannot be copied .*lock"),
        (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), r"lazy: 0.weight has no shape yet; run it once"),
        (lambda: lambda x: x, r"the backbone is a function; it must be a torch.nn.Module"),
    ],
)
def test_what_cannot_be_a_backbone_says_why(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        _encoder(make())


class _Hidden(nn.Module):
    def __init__(self, hide: Callable[[nn.Module], object], registered: bool = False) -> None:
        super().__init__()
        self.stem, inner = layer(3, 16), layer(16, 16)
        if registered:
            self.known = inner
        self.parts = hide(inner)
        self.inner = [inner]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner[0](self.stem(x))
        return out


class _Extra(nn.Sequential):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: object) -> None:
        pass


class _Half(nn.Module):
    """Casts to the type of one of its layers and back."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.stem, self.a, self.end = layer(3, 16), layer(16, 16).to(kind), layer(16, 16)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.a(self.stem(x).to(self.kind)).float())
        return out


def _renamed() -> nn.Module:
    net = _plain()

    def rename(module: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
        state[f"{prefix}other"] = state.pop(f"{prefix}0.0.weight")

    net._register_state_dict_hook(rename)
    return net


def _running() -> nn.Module:
    return nn.Sequential(layer(3, 16), nn.InstanceNorm2d(16, track_running_stats=True), layer(16, 16))


def _slashes() -> nn.Module:
    net = nn.Sequential()
    net.add_module("a", nn.Sequential())
    net.a.add_module("b", layer(3, 16))
    net.add_module("a/b", layer(16, 16))
    return net


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.jit.script(_plain()), r"module backbone \(Sequential\) is TorchScript"),
        (lambda: torch.jit.trace(_plain(), torch.zeros(1, 3, 16, 16)), r"module backbone .* is TorchScript"),
        (lambda: nn.Sequential(layer(3, 16), torch.jit.script(layer(16, 16))), r"backbone.1 .*TorchScript"),
        (lambda: _Hidden(lambda m: [m]), r"parts of the module backbone \(_Hidden\) holds weights"),
        (lambda: _Hidden(lambda m: {"a": (m,)}), r"parts of the module backbone \(_Hidden\) holds weights"),
        (lambda: _Hidden(lambda m: list(m.parameters())), r"parts .* not registered"),
        (lambda: _Extra(*_plain()), r"state dict .*backbone._extra_state"),
        (lambda: _Half(torch.float16), r"module backbone.a.0 \(Conv2d\) holds float16 .* others are float32"),
        (lambda: _Half(torch.float64), r"module backbone.a.0 \(Conv2d\) holds float64 .*module.float\(\)"),
        (_running, r"module backbone.1 \(InstanceNorm2d\) .*use track_running_stats=False, or a BatchNorm"),
        (_renamed, r"state dict .*backbone.0.0.weight"),
        (_slashes, r"'backbone.a.b' and 'backbone.a/b' are one"),
    ],
)
def test_what_cannot_be_stored_says_why(
    granularity: str, make: Callable[[], nn.Module], message: str
) -> None:
    encoder = _encoder(make())
    with pytest.raises(EncoderError, match=message):
        PrunableEncoder(encoder, CutRule(granularity))


def test_a_list_of_registered_modules_is_no_fault() -> None:
    PrunableEncoder(_encoder(_Hidden(lambda m: {"all": [m]}, registered=True)))


class _Views(nn.Module):
    """Flattens maps by `view`, which fails on those that lie channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.end = nn.Sequential(layer(3, 16), layer(16, 16)), nn.Linear(16 * 16, 24)

    def forward(self, x: Tensor) -> Tensor:
        maps = nn.functional.adaptive_avg_pool2d(self.maps(x), 4)
        out: Tensor = self.end(maps.view(maps.size(0), -1))
        return out


def test_a_flatten_by_view_runs_wherever_pictures_come_from() -> None:
    encoder = _encoder(_Views())
    assert not encoder.channels_last
    assert _encoder(_plain()).channels_last
    images = torch.randint(0, 255, (8, 16, 16, 3), dtype=torch.uint8)
    reestimate(encoder, images)
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4))
    rows = images.permute(0, 3, 1, 2).float()
    with torch.no_grad():
        part = prunable.at(0.5).extract()
        torch.testing.assert_close(part(rows), part(rows.contiguous()))
    step = JointStep(prunable.train(), Classifier(4, 2, None), MethodSpec(capacities=(0.5,)))
    pixels = rows.contiguous(memory_format=torch.channels_last)
    assert step(pixels, torch.arange(8) % 2, (0.5,)).isfinite().all()


@pytest.mark.parametrize("kind", [torch.complex64, torch.int16])
def test_tensors_of_rarer_types_fit_what_was_saved(kind: torch.dtype, tmp_path: Path) -> None:
    tensors = {"odd": torch.ones(3, dtype=kind)}
    save_file(tensors, tmp_path / "model.safetensors")
    read_header(tmp_path / "model.safetensors").check_against(tensors, tmp_path / "encoder.json")
