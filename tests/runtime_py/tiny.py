"""A tiny real encoder and real images: what the bundles of these tests are made from."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

SIZE = 32
DIMENSION = 16
CHARACTERS = "AEGKMQRSW8"
VIEWS = (
    ("DejaVuSans.ttf", 6),
    ("DejaVuSans.ttf", 7),
    ("DejaVuSans.ttf", 5),
    ("DejaVuSans-Bold.ttf", 5),
    ("DejaVuSans-Bold.ttf", 6),
)
"""Face and left edge in pixels."""


@functools.cache
def glyph_images() -> tuple[np.ndarray, np.ndarray]:
    """Coloured characters rendered from matplotlib's fonts: uint8 [50, 32, 32, 3] and labels int64 [50].

    Red, green and blue differ on purpose, so that a swapped channel order cannot go unseen.
    """
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = np.random.default_rng(7)
    images, labels = [], []
    for label, character in enumerate(CHARACTERS):
        for face, left in VIEWS:
            paper, ink = np.array([220, 150, 60]) + rng.integers(-8, 9, 3), rng.integers(0, 30, 3)
            canvas = Image.new("RGB", (SIZE, SIZE), tuple(int(v) for v in paper))
            font = ImageFont.truetype(str(fonts / face), 26)
            ImageDraw.Draw(canvas).text((left, 0), character, font=font, fill=tuple(int(v) for v in ink))
            images.append(np.asarray(canvas))
            labels.append(label)
    return np.stack(images), np.array(labels, np.int64)


class TinyEncoder(torch.nn.Module):
    """float32 [N, 3, 32, 32] in 0..255 -> unit-length float32 [N, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(8)
        self.conv2 = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(16)
        self.head = torch.nn.Linear(16 * 8 * 8, DIMENSION)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x / 64.0 - 2.0
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.nn.functional.normalize(self.head(x.flatten(1)), dim=1)


def tiny_encoder(seed: int = 5) -> TinyEncoder:
    """A reproducible encoder with random weights and random BatchNorm statistics, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    module = TinyEncoder().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
        for bn in (module.bn1, module.bn2):
            bn.weight.copy_(torch.rand(bn.weight.shape, generator=generator) + 0.5)
            bn.running_mean.copy_(torch.randn(bn.running_mean.shape, generator=generator) * 0.2)
            bn.running_var.copy_(torch.rand(bn.running_var.shape, generator=generator) + 0.5)
    return module


def near_encoder(seed: int = 5, noise: float = 0.01) -> TinyEncoder:
    """The tiny encoder with a little weight noise: what its `dense` parent could look like."""
    generator = torch.Generator().manual_seed(seed + 1000)
    module = tiny_encoder(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = noise * parameter.std()
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


def embed(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Embed uint8 [N, H, W, 3] in torch: float32 [N, D]."""
    with torch.no_grad():
        return module(torch.tensor(images).permute(0, 3, 1, 2).float()).numpy()
