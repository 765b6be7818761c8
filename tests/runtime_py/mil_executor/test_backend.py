"""The Core ML backend off macOS: what it accepts, what it refuses, what it says about itself."""

import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporters.targets.spec import Artifact
from runtime_py.backends.coreml import CoreMLBackend, _system_prediction
from runtime_py.errors import BundleError, MissingExtraError
from runtime_py.mil_executor.package import Package
from tests.exporters.nets import DIMENSION, SmallEncoder, glyph_images, spec, torch_embeddings
from tests.runtime_py.mil_executor.test_package import rewrite_model

pytestmark = pytest.mark.skipif(platform.system() == "Darwin", reason="macOS predicts with Core ML itself")

INPUT, OUTPUT = spec().pixels("image"), spec().embedding()
IMAGES = glyph_images(6)


def test_embeds_in_order_and_says_how(artifact: Callable[[str], Artifact]) -> None:
    backend = CoreMLBackend(artifact("fp32").path, INPUT, OUTPUT)
    found = backend.run(IMAGES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch_embeddings(SmallEncoder(), IMAGES), atol=1e-6)
    np.testing.assert_array_equal(backend.run(IMAGES[::-1]), found[::-1])
    assert backend.run(IMAGES[:0]).shape == (0, DIMENSION)
    assert backend.runtime.startswith("MIL executor (declared) with torch 2.")
    assert "not what the Neural Engine computes" in backend.runtime
    assert backend.identity() == spec().identity


def test_a_package_that_takes_bgr_gets_bgr(copied: Path) -> None:
    def swap(model) -> None:
        image = model.description.input[0].type.imageType
        image.colorSpace = image.DESCRIPTOR.enum_types_by_name["ColorSpace"].values_by_name["BGR"].number

    rewrite_model(copied, swap)
    found = CoreMLBackend(copied, INPUT, OUTPUT).run(IMAGES)
    wanted = torch_embeddings(SmallEncoder(), np.ascontiguousarray(IMAGES[..., ::-1]))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ((INPUT.model_copy(update={"name": "pixels"}), OUTPUT), "has the inputs ['image'], not 'pixels'"),
        ((INPUT, OUTPUT.model_copy(update={"name": "vector"})), "has the outputs ['embedding']"),
        ((INPUT.model_copy(update={"shape": (1, 64, 32, 3)}), OUTPUT), "(32, 32) pixels, not (64, 32)"),
        ((INPUT, OUTPUT.model_copy(update={"shape": (1, 9)})), f"[1, {DIMENSION}], not [1, 9]"),
    ],
)
def test_a_package_that_is_not_what_is_stated_is_refused(artifact, given, problem: str) -> None:
    with pytest.raises(BundleError) as caught:
        CoreMLBackend(artifact("fp32").path, *given)
    assert problem in str(caught.value)


def test_a_program_that_contradicts_its_description_is_refused(copied: Path) -> None:
    def narrow(model) -> None:
        shape = model.mlProgram.functions["main"].inputs[0].type.tensorType.dimensions
        shape[3].constant.size = 31

    rewrite_model(copied, narrow)
    with pytest.raises(BundleError, match=r"takes \{'image': \(1, 3, 32, 31\)\}"):
        CoreMLBackend(copied, INPUT, OUTPUT)


def test_a_package_without_identity_is_refused(copied: Path) -> None:
    rewrite_model(copied, lambda model: model.description.metadata.userDefined.pop("prunnet.space_id"))
    assert "prunnet.space_id" not in Package(copied).metadata
    with pytest.raises(BundleError, match=r"missing prunnet\.space_id"):
        CoreMLBackend(copied, INPUT, OUTPUT)


def test_a_package_without_image_input_is_refused(copied: Path) -> None:
    def grey(model) -> None:
        model.description.input[0].type.imageType.colorSpace = 10

    rewrite_model(copied, grey)
    with pytest.raises(BundleError, match="not a colour image"):
        CoreMLBackend(copied, INPUT, OUTPUT)


def test_macos_without_pillow_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"prunnet\[runtime-coreml\]"):
        _system_prediction(tmp_path, "image", "embedding")
