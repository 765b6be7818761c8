"""Pictures that are turned and mirrored for the second round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunnet.train.turned import turned


def _ways(image: np.ndarray) -> list[np.ndarray]:
    """All that an image [C, H, W] can be turned and mirrored to, itself first."""
    turns = [np.rot90(image, quarters, axes=(1, 2)) for quarters in range(4)]
    return [each for turn in turns for each in (turn, turn[:, ::-1])]


@given(st.floats(0, 1), st.integers(0, 2**31), st.sampled_from([(6, 6), (6, 4)]))
def test_a_share_is_turned_or_mirrored_and_the_rest_is_as_it_was(
    share: float, step: int, size: tuple[int, int]
) -> None:
    pixels = torch.rand(8, 3, *size, generator=torch.Generator().manual_seed(step))
    before = pixels.clone()
    result = turned(pixels, share, 0, step)
    assert torch.equal(pixels, before) and result.shape == pixels.shape
    count = round(share * 8)
    assert torch.equal(result[count:], pixels[count:])
    for new, old in zip(result[:count].numpy(), pixels[:count].numpy(), strict=True):
        same = [new.shape == way.shape and np.array_equal(new, way) for way in _ways(old)]
        assert any(same[1:]) and not same[0]


@pytest.mark.parametrize(("size", "ways"), [((4, 4), 7), ((4, 6), 3)])
def test_every_way_is_drawn(size: tuple[int, int], ways: int) -> None:
    image = torch.arange(float(size[0] * size[1])).reshape(1, 1, *size)
    result = turned(image.repeat(200, 1, 1, 1), 1.0, 0, 0)
    assert len({each.numpy().tobytes() for each in result}) == ways


def test_seed_and_step_decide() -> None:
    pixels = torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    first = turned(pixels, 0.5, 3, 5)
    assert torch.equal(first, turned(pixels, 0.5, 3, 5))
    assert not torch.equal(first, turned(pixels, 0.5, 3, 6))
    assert not torch.equal(first, turned(pixels, 0.5, 4, 5))
