"""The programs of examples/raspberry_pi, run as on a board, against a gallery of the bundle's own pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime_py import load
from runtime_py.bundle.probes import Probes
from tests.examples.conftest import ROOT

HERE = ROOT / "examples" / "raspberry_pi"


@pytest.fixture(params=["tflite", "onnx"])
def bundle(request, exported) -> Path:
    return exported(request.param)


def gallery(folder: Path, bundle: Path, space_id: str | None = None) -> Path:
    """The bundle's probes as the server's gallery; each is its own label."""
    encoder = load(bundle)
    probes: Probes = encoder.probes
    np.savez(
        folder / "gallery.npz",
        embeddings=probes.subnetwork,
        labels=np.arange(len(probes.images)),
        space_id=space_id or encoder.manifest.space_id,
    )
    return folder / "gallery.npz"


def photo(folder: Path, bundle: Path, index: int) -> Path:
    """A probe as a file, stored lying on its side with an EXIF tag that says so."""
    with load(bundle) as encoder:
        picture = Image.fromarray(encoder.probes.images[index]).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "photo.png", exif=exif)
    return folder / "photo.png"


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As on the board; prunnet is importable for the program that uses it alone."""
    alone = [] if program == "search.py" else ["-I"]
    command = [sys.executable, *alone, str(HERE / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("program", ["search.py", "plain.py"])
def test_a_photo_of_the_gallery_finds_itself(bundle, tmp_path, program) -> None:
    for index in (3, 20):
        done = run(program, bundle, gallery(tmp_path, bundle), photo(tmp_path, bundle, index))
        assert done.returncode == 0, done.stderr
        first = done.stdout.splitlines()[1].split()
        assert first == [str(index), "1.000"]


@pytest.mark.parametrize("program", ["search.py", "plain.py"])
def test_a_gallery_of_another_space_is_refused(bundle, tmp_path, program) -> None:
    done = run(program, bundle, gallery(tmp_path, bundle, "another"), photo(tmp_path, bundle, 0))
    assert done.returncode == 1 and "of space another" in done.stderr


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("preprocessing", "resize", {"filter": "bicubic", "antialias": True, "fit": "stretch"}),
        ("preprocessing", "resize", {"filter": "bilinear", "antialias": False, "fit": "stretch"}),
        (None, "resize_inside", True),
        ("input", "dtype", "int8"),
        ("input", "value_range", [0, 1]),
    ],
)
def test_what_the_plain_program_does_not_do_is_refused(exported, tmp_path, part, key, value) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(exported("onnx"), bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (manifest if part is None else manifest[part])[key] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = run("plain.py", bundle, gallery(tmp_path, exported("onnx")), photo(tmp_path, exported("onnx"), 0))
    assert done.returncode == 1 and "change `read`" in done.stderr


def test_the_plain_program_reads_what_runtime_py_reads(exported, tmp_path) -> None:
    """A photo of many more pixels: the resize shows."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (97, 140, 3), np.uint8)).save(tmp_path / "photo.png")
    bundle = exported("onnx")
    manifest = json.loads((bundle / "manifest.json").read_text())
    namespace: dict = {"__name__": "plain"}
    exec((HERE / "plain.py").read_text(), namespace)
    tensor = namespace["read"](str(tmp_path / "photo.png"), manifest)
    assert tensor.dtype == np.float32 and tensor.shape == tuple(manifest["input"]["shape"])
    with load(bundle) as encoder:
        wanted = encoder.embed_pictures([tmp_path / "photo.png"])[0]
    np.testing.assert_allclose(namespace["open_artifact"](bundle, manifest)(tensor), wanted, atol=1e-6)
