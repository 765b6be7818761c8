"""Probes for artifacts that resize by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from runtime_py.check.frames import as_frames, behind_frames, seen_through_frames
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import resize

IMAGES = np.random.default_rng(0).integers(0, 256, (19, 4, 6, 3), dtype=np.uint8)


def test_pixels_are_repeated() -> None:
    frames = as_frames(IMAGES, (8, 18))
    assert np.array_equal(frames, IMAGES.repeat(2, 1).repeat(3, 2)) and frames.flags.c_contiguous
    assert np.array_equal(as_frames(IMAGES, (4, 6)), IMAGES)
    assert np.array_equal(as_frames(IMAGES, (2, 3)), IMAGES[:, ::2, ::2])


@pytest.mark.parametrize("count", [0, 1, 8, 19])
def test_few_frames_are_in_memory_at_a_time(count: int) -> None:
    seen = []

    def embed(frames):
        seen.append(len(frames))
        return frames[:, :5, 0, 0].astype(np.float32)

    found = behind_frames(embed, (8, 6))(IMAGES[:count])
    assert np.array_equal(found, embed(as_frames(IMAGES[:count], (8, 6))))
    assert max(seen[:-1]) <= 8


def test_the_server_sees_the_frame_after_the_stated_resize() -> None:
    framing = Framing(height=4, width=6, resize=Resize(fit="crop"))
    seen = seen_through_frames(IMAGES, (24, 30), framing)
    assert np.array_equal(seen[3], resize(as_frames(IMAGES[3:4], (24, 30))[0], framing))
