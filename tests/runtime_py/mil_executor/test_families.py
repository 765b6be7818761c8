"""Whole networks: converted, saved, read back, executed, against torch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact
from runtime_py.backends.coreml import CoreMLBackend
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import read_program
from tests.exporters.nets import glyph_images, spec, torch_embeddings
from tests.runtime_py.mil_executor.families import DIMENSION, FAMILIES, SIDE, build

pytestmark = pytest.mark.slow

IMAGES = glyph_images(12, SIDE)

# Largest 1 - cosine. int8-weights rounds weights to 8 bits. MobileNetV2's 52 layers multiply every rounding: torch's
# own half precision errs as much, which the test of fp16 compares.
TOLERANCE = {"fp32": 1e-6, "fp16": 1e-5, "int8-weights": 1e-3}
TOLERANCE_OF = {("mobilenetv2_100", "fp16"): 2e-4, ("mobilenetv2_100", "int8-weights"): 1e-2}


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Artifact]:
    def run(name: str, precision: str) -> Artifact:
        chosen = spec(SIDE, DIMENSION, precision=precision)
        return get_exporter("coreml").convert(build(name), chosen, tmp_path_factory.mktemp(name))

    return run


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest 1 - cosine of two sets of embeddings, both of unit length or nearly."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    return float((1 - (found * wanted).sum(1) / np.linalg.norm(found, axis=1)).max())


def half_precision(name: str) -> np.ndarray:
    """Embeddings of torch's own fp16 kernels: an independent measure of what fp16 costs."""
    pixels = torch.from_numpy(IMAGES.copy()).permute(0, 3, 1, 2).half()
    with torch.inference_mode():
        return build(name).half()(pixels).float().numpy()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weights"])
@pytest.mark.parametrize("name", FAMILIES)
def test_executed_package_is_the_torch_module(name: str, precision: str, convert: Callable) -> None:
    wanted = torch_embeddings(build(name), IMAGES)
    assert (wanted @ wanted.T).min() < 0.95, "the images are told apart"
    artifact = convert(name, precision)
    found = CoreMLBackend(artifact.path, artifact.input, artifact.output).run(IMAGES)
    print(f"{name} {precision}: 1-cos {error(found, wanted):.1e}, {artifact.size} bytes")
    assert error(found, wanted) < TOLERANCE_OF.get((name, precision), TOLERANCE[precision])
    if precision == "fp32":
        assert np.abs(found - wanted).max() < 1e-5
    if precision == "fp16":
        assert error(found, wanted) < 2 * error(half_precision(name), wanted) + 1e-6
    operations = read_program(Package(artifact.path)).operations
    assert sum(o.kind in ("conv", "linear", "matmul") for o in operations) >= 20, "a block was folded away"
