from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from runtime_py.backends import TARGETS, open_backend
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.errors import BundleError, MissingExtraError, UnknownNameError
from tests.runtime_py import tiny
from tests.runtime_py.artifacts import IDENTITY, SUFFIX, WRITERS, infos, with_tflite_metadata

OURS = ["onnx", "tflite", "executorch"]


@pytest.mark.parametrize("target", OURS)
def test_a_backend_embeds_as_torch_does_and_knows_its_identity(artifact, target):
    backend = open_backend(target, artifact(target), *infos(target))
    images, _ = tiny.glyph_images()
    found = backend.run(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tiny.embed(tiny.tiny_encoder(), images), atol=2e-6)
    assert backend.identity().entries() == IDENTITY
    assert " on " in backend.runtime


@pytest.mark.parametrize("target", OURS)
@pytest.mark.parametrize("content", [b"", b"abcd", b"\0" * 4096], ids=["empty", "garbage", "zeros"])
def test_garbage_is_a_bundle_error(tmp_path, target, content):
    path = tmp_path / f"encoder{SUFFIX[target]}"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=path.name):
        open_backend(target, path, *infos(target))


@pytest.mark.parametrize("target", OURS)
def test_half_an_artifact_is_a_bundle_error(artifact, tmp_path, target):
    path = tmp_path / f"encoder{SUFFIX[target]}"
    content = artifact(target).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError):
        open_backend(target, path, *infos(target))


@pytest.mark.parametrize("target", OURS)
@pytest.mark.parametrize(
    ("side", "changes", "message"),
    [
        (0, {"shape": (1, 3, 48, 48)}, "its input has shape"),
        (0, {"dtype": "uint8"}, "its input is float32, not uint8"),
        (1, {"shape": (1, 99)}, "its output has shape"),
        (1, {"dtype": "float16"}, "its output is float32, not float16"),
    ],
)
def test_an_artifact_that_is_not_as_stated_is_refused(artifact, target, side, changes, message):
    stated = list(infos(target))
    stated[side] = stated[side].model_copy(update=changes)
    with pytest.raises(BundleError, match=message):
        open_backend(target, artifact(target), *stated)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_an_onnx_model_may_leave_its_batch_open_and_nothing_else(artifact, tmp_path, place):
    import onnx

    model = onnx.load(artifact("onnx"))
    for end in (*model.graph.input, *model.graph.output)[: 2 if place == 0 else 1]:
        end.type.tensor_type.shape.dim[place].dim_param = "open"
    del model.graph.value_info[:]
    path = tmp_path / "encoder.onnx"
    onnx.save(model, path)
    if place:
        with pytest.raises(BundleError, match="its input has shape"):
            open_backend("onnx", path, *infos("onnx"))
        return
    images, _ = tiny.glyph_images()
    found = open_backend("onnx", path, *infos("onnx")).run(images)
    assert (found == open_backend("onnx", artifact("onnx"), *infos("onnx")).run(images)).all()


@pytest.mark.parametrize("target", OURS)
def test_an_artifact_without_identity_is_refused(tmp_path, target):
    path = tmp_path / f"encoder{SUFFIX[target]}"
    WRITERS[target](tiny.tiny_encoder(), path, {"prunnet.name": "tiny"})
    backend = open_backend(target, path, *infos(target))
    with pytest.raises(BundleError, match=r"missing prunnet\.space_id"):
        backend.identity()


def test_tflite_metadata_that_is_no_json_object_is_refused(artifact, tmp_path):
    from runtime_py.backends.tflite import METADATA_NAME

    model = artifact("tflite").read_bytes()
    for content in (b"\xff\xfe", b"[1]", b"{"):
        path = tmp_path / "encoder.tflite"
        path.write_bytes(with_tflite_metadata(model.replace(b"prunnet\0", b"another\0"), content))
        with pytest.raises(BundleError, match=METADATA_NAME):
            open_backend("tflite", path, *infos("tflite")).identity()


def test_tflite_metadata_without_a_buffer_is_refused(artifact, tmp_path):
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    for buffer in (0, 10_000):  # buffer 0 is empty by the schema; there is no buffer 10,000
        tree = schema.ModelT.InitFromPackedBuf(artifact("tflite").read_bytes(), 0)
        for entry in tree.metadata:
            entry.buffer = buffer if entry.name == b"prunnet" else entry.buffer
        builder = flatbuffers.Builder(1024)
        builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
        path = tmp_path / "encoder.tflite"
        path.write_bytes(bytes(builder.Output()))
        with pytest.raises(BundleError, match="JSON object"):
            open_backend("tflite", path, *infos("tflite"))


def test_a_quantised_tflite_is_fed_through_its_scale(artifact, tmp_path):
    """Static int8: the converter makes input and output int8, with a scale and a zero point."""
    from ai_edge_quantizer import quantizer, recipe

    images, _ = tiny.glyph_images()
    source = artifact("tflite")
    tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    name = _input_name(source)
    calibrated = tool.calibrate(
        {"serving_default": [{name: image[None].astype(np.float32)} for image in images]}
    )
    path = tmp_path / "int8.tflite"
    tool.quantize(calibrated).export_model(str(path))
    quantised = [info.model_copy(update={"dtype": "int8"}) for info in infos("tflite")]

    found = open_backend("tflite", path, *quantised).run(images)

    expected = tiny.embed(tiny.tiny_encoder(), images)
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > 0.98
    with pytest.raises(BundleError, match="its input is int8, not float32"):
        open_backend("tflite", path, *infos("tflite"))


def test_quantisation_rounds_saturates_and_returns():
    from runtime_py.backends.tflite import dequantise, quantise

    details = {"dtype": np.int8, "quantization": (0.5, -3)}
    values = np.array([0, 0.2, 0.5, -500, 500], np.float32)
    stored = quantise(values, details)
    assert stored.dtype == np.int8
    assert stored.tolist() == [-3, -3, -2, -128, 127]
    np.testing.assert_allclose(dequantise(stored, details), [0, 0, 0.5, -62.5, 65])


def test_an_unknown_target_lists_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'tflite'") as raised:
        open_backend("tflight", tmp_path, *infos("tflite"))
    assert raised.value.known == sorted(TARGETS)


def test_an_absent_artifact_is_named(tmp_path):
    with pytest.raises(BundleError, match="does not exist"):
        open_backend("onnx", tmp_path / "absent.onnx", *infos("onnx"))


@pytest.mark.parametrize(
    ("target", "package"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert"), ("executorch", "torch")]
)
def test_an_absent_runtime_names_the_extra(artifact, target, package):
    script = f"""
import sys
sys.modules[{package!r}] = None
from runtime_py.backends import open_backend
from runtime_py.errors import MissingExtraError
try:
    open_backend({target!r}, {str(artifact(target))!r}, None, None)
except MissingExtraError as error:
    print(error.package, error.extra, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{package} runtime-{target} ")
    assert f"pip install 'prunnet[runtime-{target}]'" in done.stdout


def test_the_table_and_the_extras_of_the_package_agree():
    from importlib.metadata import metadata

    extras = set(metadata("prunnet").get_all("Provides-Extra") or ())
    assert {entry.extra for entry in TARGETS.values()} <= extras
    assert issubclass(MissingExtraError, ImportError)


def test_image_size_reads_every_layout():
    def info(layout, shape):
        return TensorInfo(name="x", shape=shape, layout=layout, dtype="uint8", value_range=(0, 255))

    assert info("NCHW", (1, 3, 5, 7)).image_size == (5, 7)
    assert info("NHWC", (1, 5, 7, 3)).image_size == (5, 7)
    assert info("image", (1, 5, 7, 3)).image_size == info("image", (1, 3, 5, 7)).image_size == (5, 7)


def _input_name(path) -> str:
    from ai_edge_litert.interpreter import Interpreter

    (name,) = Interpreter(model_path=str(path)).get_signature_runner("serving_default").get_input_details()
    return name


@pytest.mark.parametrize("target", OURS)
def test_a_runtime_prints_nothing_about_itself(artifact, target):
    script = f"""
from pathlib import Path
import numpy as np
from runtime_py.backends import open_backend
from tests.runtime_py.artifacts import infos
backend = open_backend({target!r}, Path({str(artifact(target))!r}), *infos({target!r}))
backend.run(np.zeros((1, *infos({target!r})[0].image_size, 3), np.uint8))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("architecture", "flags", "lacks"),
    [
        ("x86_64", "fpu avx2 fma", True),
        ("AMD64", "fpu avx2 avx512f", True),
        ("x86_64", "fpu avx2 avx_vnni", False),
        ("x86_64", "fpu avx512f avx512_vnni", False),
        ("aarch64", "", False),
        ("arm64", "", False),
    ],
)
def test_x86_without_vnni_is_known_by_its_flags(architecture, flags, lacks):
    from runtime_py.backends.onnx import lacks_vnni

    assert lacks_vnni(architecture, f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\n") is lacks


def test_int8_does_not_saturate_on_x86_without_vnni(artifact, monkeypatch):
    from runtime_py.backends import onnx

    for lacks in (True, False):
        monkeypatch.setattr(onnx, "lacks_vnni", lambda lacks=lacks: lacks)
        options = onnx.open_session(artifact("onnx")).get_session_options()
        if lacks:
            assert options.get_session_config_entry("session.x64quantprecision") == "1"
        else:
            with pytest.raises(RuntimeError, match="does not have configuration"):
                options.get_session_config_entry("session.x64quantprecision")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libm.so.6: version `GLIBC_2.38' not found", name="onnxruntime.capi"),
        FileNotFoundError(2, "No usable temporary directory found"),
    ],
)
def test_a_runtime_that_is_installed_and_does_not_load_is_not_called_missing(artifact, monkeypatch, error):
    def cannot(name):
        raise error

    path = artifact("onnx")
    monkeypatch.setattr("runtime_py.backends.importlib.import_module", cannot)
    with pytest.raises(
        MissingExtraError, match=r"is installed, and this machine cannot load it .*(GLIBC_2|usable)"
    ):
        open_backend("onnx", path, *infos("onnx"))
