"""Backbones of one's own, each with one thing that makes cutting channels hard. Input [N, 3, 32, 32]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS: dict[str, type[nn.Module]] = {}
REFUSED = ("BatchStatistics",)
"""Kinds of which no encoder is made."""


def _kind(cls: type[nn.Module]) -> type[nn.Module]:
    KINDS[cls.__name__] = cls
    return cls


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class _Between(nn.Module):
    """A stem of 32 channels, something, and an end of 64."""

    def __init__(self, end: int = 32) -> None:
        super().__init__()
        self.stem, self.end = layer(3, 32, 3, 2), layer(end, 64, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.between(self.stem(x)))
        return out

    def between(self, x: Tensor) -> Tensor:
        return x


@_kind
class UsedTwice(_Between):
    """one convolution applied twice"""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.first, self.second = nn.BatchNorm2d(32), nn.BatchNorm2d(32)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.twice(F.relu(self.first(self.twice(x))))))


@_kind
class TwoNames(_Between):
    """one module under two names"""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.b = self.a
        self.first, self.second = nn.BatchNorm2d(32), nn.BatchNorm2d(32)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.b(F.relu(self.first(self.a(x))))))


@_kind
class TiedWeights(_Between):
    """two modules that share one parameter"""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(32, 32, 3, padding=1, bias=False) for _ in range(2))
        self.b.weight = self.a.weight
        self.first, self.second = nn.BatchNorm2d(32), nn.BatchNorm2d(32)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.b(F.relu(self.first(self.a(x))))))


@_kind
class ChannelShuffle(_Between):
    """a grouped convolution whose channels are shuffled by hand"""

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.then = layer(32, 32, 1, groups=4), layer(32, 32)

    def between(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = self.grouped(x).view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        out: Tensor = self.then(x)
        return out


@_kind
class ShuffleUnit(_Between):
    """chunk, a branch, concatenation and a shuffle, as in ShuffleNet V2"""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(layer(16, 16, 1), layer(16, 16, groups=16), layer(16, 16, 1))

    def between(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        x = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@_kind
class Concatenation(_Between):
    """three branches of different widths, concatenated"""

    def __init__(self) -> None:
        super().__init__(end=72)
        self.a, self.b = layer(32, 16, 1), layer(32, 24)

    def between(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.a(x), self.b(x)], 1)


@_kind
class PlainNorm(_Between):
    """a BatchNorm without scale and shift"""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32, affine=False)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x)))


@_kind
class BatchStatistics(_Between):
    """a BatchNorm without running statistics: the pictures of a batch are mixed"""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(32, track_running_stats=False)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


@_kind
class GeneralisedMean(_Between):
    """GeM pooling with one power for each channel"""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.linspace(2, 4, 64).view(1, 64, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x.clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power.view(1, -1))


@_kind
class EfficientAttention(_Between):
    """ECA: a convolution along the channels"""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def between(self, x: Tensor) -> Tensor:
        y = self.along(x.mean((2, 3)).unsqueeze(1))
        return x * torch.sigmoid(3 * y).transpose(1, 2).unsqueeze(-1)


@_kind
class SqueezeExcitation(_Between):
    """a gate for each channel, of linear layers"""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(32, 8), nn.Linear(8, 32)

    def between(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None].expand_as(x)


@_kind
class LearnedScale(_Between):
    """a raw parameter that scales channels"""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1, 32, 1, 1) + 0.5)

    def between(self, x: Tensor) -> Tensor:
        return x * self.scale


@_kind
class StoredScale(_Between):
    """buffers that scale channels, one of them not stored"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 32).view(1, 32, 1, 1))
        self.register_buffer("shift", torch.linspace(-1, 1, 32).view(32, 1, 1), persistent=False)

    def between(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


@_kind
class Constant(_Between):
    """a plain tensor attribute of full width"""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.linspace(-1, 1, 32).view(32, 1, 1)

    def between(self, x: Tensor) -> Tensor:
        return x + self.shift


@_kind
class UnitLength(_Between):
    """L2 normalisation over the channels in the middle"""

    def between(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


@_kind
class RegionalMaxima(_Between):
    """R-MAC: sums of L2-normalised regional maxima at the end"""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        regions = [x, x[:, :, :5, :5], x[:, :, 3:, 3:]]
        return torch.stack([F.normalize(r.amax((2, 3)), dim=1) for r in regions]).sum(0)


@_kind
class SpatialAttention(_Between):
    """CBAM: mean and maximum over the channels"""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def between(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.gate(pooled))


@_kind
class LearnedSlope(_Between):
    """PReLU with one slope for each channel"""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.PReLU(32)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(x - 1)
        return out


@_kind
class DepthMultiplier(_Between):
    """a depthwise convolution with two filters for each channel"""

    def __init__(self) -> None:
        super().__init__(end=64)
        self.wide = layer(32, 64, groups=32)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.wide(x)
        return out


@_kind
class PixelUnshuffle(_Between):
    """pixels moved into channels"""

    def __init__(self) -> None:
        super().__init__(end=128)

    def between(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)


@_kind
class PixelShuffle(_Between):
    """channels moved into pixels"""

    def __init__(self) -> None:
        super().__init__(end=8)

    def between(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)


@_kind
class Flattened(_Between):
    """a linear layer on the flattened map"""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64 * 8 * 8, 48)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(super().forward(x).flatten(1))
        return out


@_kind
class WeightNorm(_Between):
    """a convolution whose weight is computed"""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(32, 32, 3, padding=1))

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.normed(x))


@_kind
class InstanceNorm(_Between):
    """InstanceNorm with scale and shift"""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(32, affine=True)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


@_kind
class GroupNorm(_Between):
    """GroupNorm of eight groups"""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, 32)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


@_kind
class HalfByNumber(_Between):
    """x[:, :16] and x[:, 16:] by numbers in the code"""

    def __init__(self) -> None:
        super().__init__()
        self.part = layer(16, 16)

    def between(self, x: Tensor) -> Tensor:
        return torch.cat([self.part(x[:, :16]), x[:, 16:]], 1)


@_kind
class ZeroPadding(nn.Module):
    """a shortcut that is padded with zero channels"""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end = layer(3, 16, 3, 2), layer(32, 64, 3, 2)
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        out: Tensor = self.end(F.relu(self.down(x) + shortcut))
        return out


@_kind
class WidthInTheCode(_Between):
    """a reshape that names the number of channels"""

    def between(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 32, -1).reshape(len(x), 32, 16, 16)


@_kind
class WrittenInPlace(_Between):
    """channels written into a new tensor"""

    def between(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[:, :16] = x[:, 16:]
        out[:, 16:] = x[:, :16]
        return out


@_kind
class FrozenStem(_Between):
    """a stem that does not learn"""

    def __init__(self) -> None:
        super().__init__()
        self.middle = layer(32, 48)
        self.end = layer(48, 64, 3, 2)
        self.stem.requires_grad_(False)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.middle(x)
        return out


@_kind
class StemWithoutGradient(_Between):
    """a stem under torch.no_grad"""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.stem(x)
        out: Tensor = self.end(x)
        return out


@_kind
class Transposed(_Between):
    """a transposed convolution"""

    def __init__(self) -> None:
        super().__init__(end=24)
        self.up = nn.ConvTranspose2d(32, 24, 2, 2)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.up(x))


@_kind
class TorchAttention(nn.Module):
    """nn.MultiheadAttention"""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = layer(3, 32, 4, 4), nn.Linear(32, 64)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        out: Tensor = self.out(x).mean(1)
        return out


@_kind
class OwnAttention(nn.Module):
    """attention by einsum, without names that say so"""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.back, self.out = (
            layer(3, 32, 4, 4),
            nn.Linear(32, 96),
            nn.Linear(32, 32),
            nn.Linear(32, 64),
        )
        self.parts = 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        a, b, c = self.mix(x).reshape(len(x), x.shape[1], 3, self.parts, 8).unbind(2)
        weights = torch.softmax(torch.einsum("nqhd,nkhd->nhqk", a, b) / 8**0.5, -1)
        x = x + self.back(torch.einsum("nhqk,nkhd->nqhd", weights, c).flatten(2))
        out: Tensor = self.out(x).mean(1)
        return out
