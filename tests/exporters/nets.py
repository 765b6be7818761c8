"""A small real network, real images and a spec: what every test of an exporter starts from."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from exporters.targets.spec import ExportSpec
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Preprocessing

SIDE = 32
DIMENSION = 24
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


class SmallEncoder(nn.Module):
    """Raw pixels -> unit-length embedding, with a residual, a depthwise convolution and two activations."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.Hardswish(),
            nn.Conv2d(16, 16, 1),
            nn.BatchNorm2d(16),
        )
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(32, DIMENSION)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem((image - self.mean) / self.std)
        features = self.down(features + self.block(features))
        return nn.functional.normalize(self.head(features.mean((2, 3))), dim=1)


@functools.cache
def glyph_images(count: int = 24, side: int = SIDE) -> np.ndarray:
    """Characters drawn in two inks on two grounds, uint8 [count, side, side, 3]."""
    font = ImageFont.load_default(size=side * 0.8)
    grounds, inks = ["#f4efe3", "#203a5c", "#7fb069"], ["#101010", "#ffffff", "#a3142a"]
    rows = []
    for index in range(count):
        picture = Image.new("RGB", (side, side), grounds[index % 3])
        draw = ImageDraw.Draw(picture)
        draw.text((side * 0.2, side * 0.02), chr(ord("A") + index % 26), inks[index // 3 % 3], font=font)
        rows.append(np.asarray(picture))
    return np.stack(rows)


def spec(side: int = SIDE, dimension: int = DIMENSION, **changes: object) -> ExportSpec:
    fields = {
        "identity": Identity("små-nät", "0123456789abcdef", 0.2871093, dimension, "0.1.0"),
        "preprocessing": Preprocessing(height=side, width=side, mean=MEAN, std=STD),
        "precision": "fp32",
        "calibration_images": glyph_images(side=side),
    }
    return ExportSpec(**{**fields, **changes})


def torch_embeddings(module: nn.Module, images: np.ndarray) -> np.ndarray:
    """Embeddings of uint8 [N, H, W, 3], one image at a time as every artifact computes them."""
    with torch.inference_mode():
        rows = [module(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()) for image in images]
    return torch.cat(rows).numpy()
