"""The program inside of a Core ML delegate computes what torch computes: the page of delegates rests on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.executorch_delegates import coreml, executed
from tests.exporters.nets import SmallEncoder, glyph_images


@pytest.mark.parametrize(("precision", "error"), [("FLOAT32", 1e-6), ("FLOAT16", 1e-2)])
def test_the_program_inside_of_a_core_ml_delegate_is_the_networks(precision: str, error: float) -> None:
    pixels = torch.from_numpy(glyph_images(6)).permute(0, 3, 1, 2).float().contiguous()
    made = coreml(SmallEncoder(), pixels, precision)
    assert made.outside == ()
    with torch.inference_mode():
        wanted = SmallEncoder()(pixels).numpy()
    found = executed(made.content, pixels)
    np.testing.assert_allclose(found, wanted, atol=error)
    assert np.abs(found - wanted[::-1]).max() > 10 * error  # so that the comparison can fail
