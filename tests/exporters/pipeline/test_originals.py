"""The originals of a bundle of the built-in encoder: what `preprocess.*` tells apart at the tolerances that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporters.pipeline.export import export_bundle
from exporters.pipeline.originals import DRAWN, TURNED, drawn, originals_of
from prunnet.encoder.embedding import embed
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.gates import describe
from runtime_py.check.originals import framed, preprocess_gates
from runtime_py.framing import Framing, Resize
from runtime_py.loading import load
from runtime_py.picture_files import resize
from tests.exporters.packages import write_package, write_profile


@pytest.fixture(scope="module")
def package():
    return load_encoder()


@pytest.mark.parametrize("capacity", [1.0, 0.2])
def test_wrong_resizes_fail_and_rounding_passes(package, capacity: float) -> None:
    module, rng = package.subnetwork(capacity), np.random.default_rng(0)
    originals = originals_of(package, module)

    def failed(pixels: np.ndarray, precision: str = "fp32") -> tuple[str, ...]:
        embeddings = embed(module, np.ascontiguousarray(pixels))
        return describe(preprocess_gates(embeddings, originals, TABLE[precision]))

    stated = framed(originals.files, package.preprocessing)
    off = np.clip(stated.astype(int) + rng.integers(-1, 2, stated.shape), 0, 255).astype(np.uint8)
    assert failed(stated) == failed(off) == ()
    for rule in (
        Resize(antialias=False),
        Resize(filter="bicubic"),
        Resize(fit="letterbox"),
        Resize(fit="crop"),
    ):
        framing = Framing(height=48, width=48, resize=rule)
        assert len(failed(framed(originals.files, framing))) == 2, rule
    assert failed(
        framed(originals.files, Framing(height=48, width=48, resize=Resize(antialias=False))), "int8"
    )
    assert failed(stated[..., ::-1]) and failed(np.rot90(stated, axes=(1, 2)), "int8")


def test_a_server_that_crops_with_a_bicubic_filter_is_matched(tmp_path: Path) -> None:
    """From its encoder to the app: stated, obeyed, and any other resize is another space and fails the gate."""
    rule = Resize(filter="bicubic", fit="crop", scale=0.875)
    package = load_encoder(write_package(tmp_path / "cropped", rule))
    assert package.space_id != load_encoder(write_package(tmp_path / "plain")).space_id
    done = export_bundle(package, load_profile(write_profile(tmp_path)), "onnx", tmp_path / "build")
    encoder = load(done.path)
    assert encoder.manifest.preprocessing.resize == rule and encoder.manifest.space_id == package.space_id
    report = encoder.check()
    assert "preprocess.min_cosine" in {gate.name for gate in report.gates}
    report.raise_if_incompatible()
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    wanted = embed(package.subnetwork(1.0), resize(photo, package.preprocessing)[None])
    assert float((encoder.embed_pictures([tmp_path / "photo.png"]) * wanted).sum()) > 0.99999
    plain = Framing(height=package.preprocessing.height, width=package.preprocessing.width)
    originals = encoder.probes.originals
    made = encoder.embed(framed(originals.files, plain))
    assert describe(preprocess_gates(made, originals, encoder.manifest.drift.tolerances))


def test_they_are_larger_than_any_input_and_small_files() -> None:
    for size in ((48, 48), (224, 224), (1024, 768), (2000, 2000)):
        framing = Framing(height=size[0], width=size[1])
        files = drawn(framing)
        assert len(files) == len(DRAWN) and set(TURNED) < set(DRAWN)
        assert sum(len(file) for file in files) < 2**18
        assert np.array_equal(framed(files, framing).shape[1:3], size)
