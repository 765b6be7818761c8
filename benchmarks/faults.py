"""Faults as a faulty exporter makes them: of the input, of the network, of what lies beside the artifact.

An input fault is a function of the pixels, float32 [N, 3, H, W] in 0..255, put before the network; a network fault
changes a copy of the network; a reference fault changes the probes (embeddings or labels) and leaves the artifact
right.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runtime_py.bundle.probes import Probes

GREY = (0.299, 0.587, 0.114)


class Before(nn.Module):
    """A network whose pixels pass through a function first."""

    def __init__(self, module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, image: Tensor) -> Tensor:
        return self.module(self.change(image))  # type: ignore[no-any-return]


class After(nn.Module):
    """A network whose embedding passes through a function last."""

    def __init__(self, module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, image: Tensor) -> Tensor:
        return self.change(self.module(image))


def grey(x: Tensor) -> Tensor:
    red, green, blue = (x[:, i : i + 1] * GREY[i] for i in range(3))
    return (red + green + blue).repeat(1, 3, 1, 1)


def coarse(x: Tensor) -> Tensor:
    return nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2.0, mode="nearest")


def cropped(x: Tensor) -> Tensor:
    inner = x[:, :, 2:-2, 2:-2]
    return nn.functional.interpolate(inner, size=x.shape[2:], mode="bilinear", align_corners=False)


def input_faults(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the faults of the input of an encoder with this normalisation, by name."""
    m, s = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))
    return {
        "red and blue swapped": lambda x: torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1),
        "red and green swapped": lambda x: torch.cat([x[:, 1:2], x[:, :1], x[:, 2:]], 1),
        "grey": grey,
        "half grey, half swapped": lambda x: (
            0.5 * grey(x) + 0.5 * torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1)
        ),
        "blue missing": lambda x: torch.cat([x[:, :2], x[:, 2:] * 0], 1),
        "pixels 10 too bright": lambda x: x + 10,
        "pixels 2 too bright": lambda x: x + 2,
        "contrast 0.9": lambda x: (x - 128) * 0.9 + 128,
        "contrast 1.02": lambda x: (x - 128) * 1.02 + 128,
        "pixels in 0..1": lambda x: x / 255,
        "pixels in -1..1": lambda x: x / 127.5 - 1,
        "pixels inverted": lambda x: 255 - x,
        "no normalisation": lambda x: x * s + m,
        "normalised twice": lambda x: (x - m) / s,
        "mean of the channels in reverse order": lambda x: x + m - m.flip(1),
        "mirrored": lambda x: x.flip(3),
        "upside down": lambda x: x.flip(2),
        "transposed": lambda x: x.transpose(2, 3),
        "channels last read as channels first": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape),
        "resized through half the size": coarse,
        "cropped by 2 pixels": cropped,
        "shifted by 1 pixel": lambda x: torch.cat([x[:, :, :, 1:], x[:, :, :, -1:]], 3),
    }


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def _stale(module: nn.Module) -> None:
    for norm in _norms(module):
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(1)  # type: ignore[union-attr]


def _permuted(module: nn.Module) -> None:
    layer = _convolutions(module)[len(_convolutions(module)) // 2]
    order = torch.from_numpy(np.random.default_rng(0).permutation(layer.out_channels))
    layer.weight.copy_(layer.weight[order])


def _zeroed(module: nn.Module) -> None:
    layer = _convolutions(module)[len(_convolutions(module)) // 2]
    layer.weight[: max(1, layer.out_channels // 8)] = 0


def _scaled(module: nn.Module) -> None:
    layer = _convolutions(module)[len(_convolutions(module)) // 2]
    layer.weight.mul_(1.1)


def _other_checkpoint(module: nn.Module) -> None:
    """Weights as they were or will be some hundred steps away: each layer 5 % off."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.add_(torch.randn_like(parameter) * parameter.std() * 0.05)


def _random(module: nn.Module) -> None:
    torch.manual_seed(0)
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


def _few_bits(bits: int) -> Callable[[nn.Module], None]:
    def quantise(module: nn.Module) -> None:
        for layer in _convolutions(module):
            step = layer.weight.abs().amax() / (2 ** (bits - 1) - 1)
            layer.weight.copy_((layer.weight / step).round() * step)

    return quantise


def _one_layer_lost(module: nn.Module) -> None:
    layer = _convolutions(module)[-1]
    layer.weight.zero_()


def _eps(module: nn.Module) -> None:
    for norm in _norms(module):
        norm.eps = 1e-3


def _first_activation_lost(module: nn.Module) -> None:
    for name, part in module.named_modules():
        for child, layer in part.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(module.get_submodule(name) if name else module, child, nn.Identity())
                return


def _changed(change: Callable[[nn.Module], None]) -> Callable[[nn.Module], nn.Module]:
    def make(module: nn.Module) -> nn.Module:
        other = copy.deepcopy(module)
        with torch.no_grad():
            change(other)
        return other.eval()

    return make


def _output(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], nn.Module]:
    return lambda module: After(module, change).eval()


def _flip_one(x: Tensor) -> Tensor:
    return torch.cat([-x[:, :1], x[:, 1:]], 1)


NETWORK_FAULTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "stale BatchNorm": _changed(_stale),
    "BatchNorm eps 1e-3": _changed(_eps),
    "channels of a layer permuted": _changed(_permuted),
    "an eighth of a layer's channels zero": _changed(_zeroed),
    "a layer scaled by 1.1": _changed(_scaled),
    "last convolution lost": _changed(_one_layer_lost),
    "first activation lost": _changed(_first_activation_lost),
    "another checkpoint": _changed(_other_checkpoint),
    "random weights": _changed(_random),
    "weights of 4 bits": _changed(_few_bits(4)),
    "weights of 8 bits": _changed(_few_bits(8)),
    "sign of one dimension": _output(_flip_one),
    "dimensions reversed": _output(lambda x: x.flip(1)),
    "one dimension zero": _output(
        lambda x: nn.functional.normalize(torch.cat([x[:, :1] * 0, x[:, 1:]], 1), dim=1)
    ),
    "the same embedding for all": _output(lambda x: nn.functional.normalize(x * 0 + 1, dim=1)),
    "NaN for bright pictures": _output(lambda x: torch.where(x[:, :1] > 0.05, x * float("nan"), x)),
    "not of unit length": _output(lambda x: x * 1.01),
}
"""Network -> faulty network, by name. None of them is an honest fp32 conversion."""


def reference_faults(other: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, Callable[[Probes], Probes]]:
    """Return faults of what lies beside a right artifact, by name; `other` [P, D] is another encoder's `dense`."""
    rng = np.random.default_rng(0)

    def in_disorder(probes: Probes) -> Probes:
        return replace(probes, labels=rng.permutation(probes.labels))

    def one_row_off(probes: Probes) -> Probes:
        return replace(probes, dense=np.roll(probes.dense, 1, axis=0))

    def permuted(probes: Probes) -> Probes:
        return replace(probes, dense=probes.dense[:, rng.permutation(probes.dimension)])

    def one_class(probes: Probes) -> Probes:
        return replace(probes, labels=np.zeros_like(probes.labels))

    return {
        "labels in another order": in_disorder,
        "labels of one class": one_class,
        "dense one row off": one_row_off,
        "dense with permuted dimensions": permuted,
        "dense of another encoder": lambda probes: replace(probes, dense=other),
    }
