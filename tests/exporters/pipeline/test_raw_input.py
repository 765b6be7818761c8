"""Artifacts that take a camera's frames: planned, exported, loaded and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image
from torch import nn

from exporters.pipeline.export import export_bundle
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from exporters.targets.tflite.operators import operators_of
from prunnet.encoder.embedding import embed
from prunnet.encoder.raw_input import RawInput
from prunnet.errors import InfeasibleError
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile
from prunnet.solver import solve
from runtime_py.errors import IncompatibleError, PictureError
from runtime_py.framing import Framing, Resize
from runtime_py.loading import load
from runtime_py.picture_files import resize
from tests.exporters.packages import write_package, write_profile

FRAME = (60, 80)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory):
    rule = Resize(filter="bicubic", fit="crop", scale=0.875)
    return load_encoder(write_package(tmp_path_factory.mktemp("package"), rule))


def profile_of(folder: Path, **inside: str):
    path = write_profile(folder, **inside)
    path.write_text(path.read_text() + f"raw_input: {{height: {FRAME[0]}, width: {FRAME[1]}}}\n")
    return load_profile(path)


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        ("onnx", "fp32"),
        ("onnx", "int8"),
        ("tflite", "fp16"),
        pytest.param("tflite", "mixed", marks=pytest.mark.slow),
        ("executorch", "fp32"),
        ("coreml", "fp16"),
    ],
)
def test_frames_are_embedded_as_the_server_embeds_them(package, tmp_path: Path, target, precision) -> None:
    profile = profile_of(tmp_path, targets=target, precision=f"{target}: {precision}")
    bundle = export_bundle(package, profile, target, tmp_path / "build").path
    with load(bundle) as encoder:
        stated = encoder.manifest
        assert stated.resize_inside and stated.schema_version == 5 and stated.takes.size == FRAME
        assert stated.preprocessing == package.preprocessing and stated.space_id == package.space_id
        report = encoder.check()
        assert "preprocess.min_cosine" in {gate.name for gate in report.gates}
        report.raise_if_incompatible()
        encoder.check(package.path).raise_if_incompatible()
        frame = np.asarray(
            Image.fromarray(encoder.probes.images[0]).resize(FRAME[::-1], Image.Resampling.BICUBIC)
        )
        Image.fromarray(frame).save(tmp_path / "frame.png")
        wanted = embed(package.subnetwork(1.0), resize(frame, package.preprocessing)[None])
        found = encoder.embed_pictures([tmp_path / "frame.png", Image.fromarray(frame)])
        assert np.array_equal(found, encoder.embed(np.stack([frame, frame])))
        assert float((found @ wanted.T).min()) > (0.9999 if precision in ("fp32", "fp16") else 0.95)


def test_narrow_weights_are_not_the_resizes(package, tmp_path: Path) -> None:
    """Of sizes without a common divisor the filters are large; a palette for them added a third to what is lost."""
    frame = (61, 79)
    resizing = RawInput(frame, package.prunable.framing).before(package.subnetwork(1.0)).eval()

    def stored(target, precision) -> Path:
        spec = ExportSpec.of(package, 1.0, precision, frame)
        return get_exporter(target).convert(resizing, spec, tmp_path).path

    operators = operators_of(stored("tflite", "int8-weights"))
    in_float = [each.weights.size for each in operators if each.weights is not None]
    assert in_float == [axis.resize_filter.numel() for axis in (resizing.across, resizing.down)]
    (file,) = stored("coreml", "palette4").rglob("weight.bin")
    filters = [axis.resize_filter.half().numpy().tobytes() for axis in (resizing.across, resizing.down)]
    assert all(each in file.read_bytes() for each in filters)


def test_a_picture_of_another_size_is_refused(package, tmp_path: Path) -> None:
    encoder = load(export_bundle(package, profile_of(tmp_path), "onnx", tmp_path / "build").path)
    Image.new("RGB", FRAME).save(tmp_path / "upright.png")
    for picture in (tmp_path / "upright.png", Image.new("RGB", (48, 48))):
        with pytest.raises(PictureError, match="takes frames of 60 x 80"):
            encoder.embed_pictures([picture])
    with pytest.raises(ValueError, match="as they are, the artifact resizes them"):
        encoder.embed(encoder.probes.images)


@pytest.mark.parametrize(("target", "precision"), [("onnx", ""), ("onnx", "onnx: int8")])
def test_a_resize_that_is_not_the_stated_one_is_refused(
    package, tmp_path: Path, monkeypatch, target, precision
) -> None:
    class Plain(nn.Module):
        def __init__(self, encoder: nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, image):
            return self.encoder(F.interpolate(image, package.preprocessing.size, mode="bilinear"))

    monkeypatch.setattr(RawInput, "before", lambda self, encoder: Plain(encoder))
    again = load_encoder(package.path)  # plans keep the graphs of a package
    with pytest.raises(IncompatibleError, match=r"preprocess\.min_cosine.*export without raw_input"):
        export_bundle(
            again, profile_of(tmp_path, targets=target, precision=precision), target, tmp_path / "build"
        )
    assert not (tmp_path / "build").exists()


def test_the_plan_counts_the_resize(package, tmp_path: Path) -> None:
    profile = profile_of(tmp_path)
    whole, alone = solve(package, profile, "onnx"), solve(package, without_raw(profile), "onnx")
    assert whole.predicted.mflops > alone.predicted.mflops
    assert whole.predicted.peak_memory_bytes > alone.predicted.peak_memory_bytes
    limit = f"max_mflops: {alone.predicted.mflops}"
    tight = profile_of(tmp_path, budgets=limit)
    assert solve(package, tight, "onnx").capacity < solve(package, without_raw(tight), "onnx").capacity


def test_a_resize_that_does_not_fit_is_named_as_what_to_leave_out(package, tmp_path: Path) -> None:
    needed = solve(package, without_raw(profile_of(tmp_path)), "onnx", min_capacity=0.1).predicted
    limit = f"max_mflops: {0.001 * needed.mflops}"
    with pytest.raises(InfeasibleError, match="another size of raw_input, or none"):
        solve(package, profile_of(tmp_path, budgets=limit), "onnx")


def without_raw(profile):
    return profile.model_copy(update={"raw_input": None})


def test_a_frame_of_the_encoders_own_size_is_not_resized() -> None:
    framing = Framing(height=6, width=8)
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    found = embed(RawInput((6, 8), framing).before(nn.Flatten()), picture[None])
    assert np.array_equal(found, picture.transpose(2, 0, 1).reshape(1, -1).astype(np.float32))
