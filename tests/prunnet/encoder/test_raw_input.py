"""The resize in front of an encoder, held against the one that pictures are read by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from prunnet.encoder.raw_input import RawInput
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import resize

RULES = [
    Resize(),
    Resize(filter="bicubic"),
    Resize(antialias=False),
    Resize(filter="bicubic", antialias=False),
    Resize(fit="crop", scale=0.875),
    Resize(filter="bicubic", fit="crop"),
    Resize(filter="bicubic", fit="crop", scale=0.1),
    Resize(fit="letterbox"),
    Resize(fit="letterbox", fill=(10, 200, 30)),
    Resize(fit="letterbox", antialias=False, fill=(255, 255, 255)),
]
ROUNDED = {"bilinear": 1.01, "bicubic": 2.0}
"""Levels that Pillow's rounding to 8 bits after each axis can move a value of noise; bicubic weights amplify it."""


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(
    "stored", [(120, 160), (160, 120), (479, 641), (30, 90), (48, 40), (250, 240), (2, 8)]
)
@pytest.mark.parametrize("size", [(48, 48), (40, 64)])
def test_it_is_the_resize_that_pictures_are_read_by(rule: Resize, stored, size) -> None:
    framing = Framing(height=size[0], width=size[1], resize=rule)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *stored, 3), dtype=np.uint8)
    resizing = RawInput(stored, framing).before(nn.Identity())
    found = resizing(torch.from_numpy(pictures).permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1).numpy()
    wanted = np.stack([resize(picture, framing) for picture in pictures])
    assert found.shape == wanted.shape
    difference = np.abs(found - wanted)
    assert difference.max() <= ROUNDED[rule.filter] and difference.mean() < 0.5


def test_a_ratio_of_small_numbers_costs_little() -> None:
    """640 x 480 to 48 x 48: the dense products would take 48 million multiplications."""
    resizing = RawInput((480, 640), Framing(height=48, width=48)).before(nn.Identity())
    across, down = resizing.across.resize_filter, resizing.down.resize_filter
    per_block = across[:, 0, 0].numel() * 16 * 480, down[:, 0, :, 0].numel() * 48 * 48
    assert sum(per_block) < 4.5e6
