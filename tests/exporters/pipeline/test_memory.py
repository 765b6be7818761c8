"""The measured peak holds the weights, follows their size, and repeats."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from exporters.pipeline.memory import peak_memory_bytes
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact
from tests.exporters.nets import DIMENSION, SmallEncoder, spec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a peak can be read on Linux only")


class Wide(SmallEncoder):
    """The small encoder with `width` hidden features more in its head: 228 bytes each in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, DIMENSION)).eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem((image - self.mean) / self.std)
        features = self.down(features + self.block(features)).mean((2, 3))
        return nn.functional.normalize(self.head(features) + self.hidden(features), dim=1)


def test_the_peak_follows_the_weights(tmp_path: Path) -> None:
    small, large = (converted(width, tmp_path) for width in (1_000, 100_000))
    grown = peak_memory_bytes("onnx", large) - peak_memory_bytes("onnx", small)
    added = large.size - small.size
    assert added > 20e6
    assert 1.0 * added <= grown <= 5.0 * added


def test_the_peak_repeats(tmp_path: Path) -> None:
    artifact = converted(20_000, tmp_path)
    first, second = peak_memory_bytes("onnx", artifact), peak_memory_bytes("onnx", artifact)
    assert first == pytest.approx(second, rel=0.1)


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    artifact = converted(10, tmp_path)
    artifact.path.write_bytes(b"no model")
    with pytest.raises(RuntimeError, match=r"process that measures memory failed: .*does not open"):
        peak_memory_bytes("onnx", artifact)


def converted(width: int, tmp_path: Path) -> Artifact:
    folder = tmp_path / str(width)
    folder.mkdir()
    return get_exporter("onnx").convert(Wide(width), spec(), folder)
