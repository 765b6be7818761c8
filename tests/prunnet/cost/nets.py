"""Small real encoders for the cost tests and benchmarks: raw pixels in, unit-length embeddings out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pixels(nn.Module):
    """Per-channel normalisation of raw 0..255 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([58.4, 57.1, 57.4]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Head(nn.Module):
    """Pool, project, normalise."""

    def __init__(self, channels: int, dimension: int = 256) -> None:
        super().__init__()
        self.project = nn.Linear(channels, dimension)
        self.norm = nn.BatchNorm1d(dimension)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.norm(self.project(x.mean((2, 3)))))


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inside: int, hidden: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, hidden, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ConvEncoder(nn.Module):
    """A residual net of three stages; `widths` are the channels of the stages."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), dimension: int = 256) -> None:
        super().__init__()
        a, b, c = widths
        self.pixels = Pixels()
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU())
        self.blocks = nn.Sequential(Residual(a, a, a, 1), Residual(a, b, b, 2), Residual(b, c, c, 2))
        self.head = Head(c, dimension)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(self.pixels(x))))


class Inverted(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1, with a shortcut where the shapes allow one."""

    def __init__(self, inside: int, outside: int, stride: int, expand: int = 4) -> None:
        super().__init__()
        hidden = inside * expand
        self.body = nn.Sequential(
            nn.Conv2d(inside, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.residual else y


class DepthwiseEncoder(nn.Module):
    """A MobileNetV2-like net; `width` scales every stage."""

    def __init__(self, width: int = 16, dimension: int = 256) -> None:
        super().__init__()
        w = width
        self.pixels = Pixels()
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU6())
        self.blocks = nn.Sequential(
            Inverted(w, w, 1),
            Inverted(w, 2 * w, 2),
            Inverted(2 * w, 2 * w, 1),
            Inverted(2 * w, 4 * w, 2),
            Inverted(4 * w, 4 * w, 1),
            Inverted(4 * w, 8 * w, 2),
            Inverted(8 * w, 8 * w, 1),
        )
        self.head = Head(8 * w, dimension)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(self.pixels(x))))


class AttentionBlock(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class AttentionEncoder(nn.Module):
    """A ViT-like net of 8 px patches for 48 px images."""

    def __init__(self, width: int = 96, depth: int = 3, dimension: int = 256) -> None:
        super().__init__()
        self.pixels = Pixels()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.position = nn.Parameter(torch.randn(1, 36, width) * 0.02)
        self.blocks = nn.Sequential(*(AttentionBlock(width, 4, 4 * width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dimension)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(self.pixels(x)).flatten(2).transpose(1, 2) + self.position
        return F.normalize(self.project(self.norm(self.blocks(tokens)).mean(1)))


def settle(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give BatchNorm statistics and affine parameters that no converter can fold away; eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.3, 0.3),
                (part.running_mean, -0.3, 0.3),
                (part.running_var, 0.5, 1.5),
            ):
                with torch.no_grad():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return module.eval()
