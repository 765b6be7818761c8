"""The gates `preprocess.*`: a right resize passes them, wrong ones do not; and an app's own test of it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime_py import load
from runtime_py.bundle.originals import packed, unpacked
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check import originals as checking
from runtime_py.check.originals import framed, preprocess_gates
from runtime_py.cli.check import main
from runtime_py.errors import BundleError
from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import opening
from tests.runtime_py import tiny

SIZE = Framing(height=tiny.SIZE, width=tiny.SIZE)


def _wrong(**resize: object) -> Framing:
    return SIZE.model_copy(update={"resize": Resize.model_validate(resize)})


def test_a_bundles_own_resize_passes(make_bundle) -> None:
    report = load(make_bundle("onnx")).check()
    judged = {gate.name: gate for gate in report.gates if gate.name.startswith("preprocess.")}
    assert report.verdict == "compatible", report.reasons
    assert set(judged) == {"preprocess.min_cosine", "preprocess.mean_cosine"}
    assert all(gate.value > 0.999999 for gate in judged.values())


@pytest.mark.parametrize(
    "wrong",
    [_wrong(antialias=False), _wrong(fit="letterbox"), _wrong(fit="crop")],
    ids=str,
)
def test_another_resize_is_caught(make_bundle, monkeypatch: pytest.MonkeyPatch, wrong: Framing) -> None:
    encoder = load(make_bundle("onnx"))
    monkeypatch.setattr(checking, "framed", lambda files, framing: framed(files, wrong))
    report = encoder.check()
    assert report.verdict == "incompatible"
    assert any(reason.startswith("preprocess.min_cosine is") for reason in report.reasons)
    assert all(gate.passed for gate in report.gates if not gate.name.startswith("preprocess."))


def test_an_app_that_ignores_exif_is_caught(probes: Probes) -> None:
    """Two of the drawn pictures lie on their side."""
    pixels = []
    for file in probes.originals.files:
        pixels.append(_ignoring_exif(file))
    got = tiny.embed(tiny.tiny_encoder(), np.stack(pixels))
    gates = preprocess_gates(got, probes.originals, TABLE["fp32"])
    assert [gate.passed for gate in gates] == [False, False]


def _ignoring_exif(file: bytes) -> np.ndarray:
    import io

    picture = Image.open(io.BytesIO(file)).convert("RGB")
    return np.asarray(picture.resize((tiny.SIZE, tiny.SIZE), Image.Resampling.BILINEAR))


def test_swapped_channels_and_no_direction_are_caught(probes: Probes) -> None:
    swapped = framed(probes.originals.files, SIZE)[..., ::-1]
    gates = preprocess_gates(
        tiny.embed(tiny.tiny_encoder(), np.ascontiguousarray(swapped)), probes.originals, TABLE["fp32"]
    )
    assert not gates[0].passed
    empty = np.array(probes.originals.embeddings)
    empty[3] = np.nan
    first, second = preprocess_gates(empty, probes.originals, TABLE["fp32"])
    assert first.value == -1 and "original_03.png" in first.where and not second.passed


def test_without_pillow_the_report_says_what_was_not_checked(
    make_bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(make_bundle("onnx"))
    monkeypatch.setitem(sys.modules, "PIL", None)
    opening.pillow.cache_clear()
    try:
        report = encoder.check()
    finally:
        opening.pillow.cache_clear()
    assert report.verdict == "compatible"
    assert any("not checked: decoding and resizing" in note and "pillow" in note for note in report.notes)


def test_what_cannot_be_decoded_is_no_pass(make_bundle, probes: Probes) -> None:
    files = (probes.originals.files[0][:60], *probes.originals.files[1:])
    damaged = replace(probes, originals=replace(probes.originals, files=files))
    report = load(make_bundle("onnx", own_probes=damaged)).check()
    assert report.verdict == "incompatible"
    assert "a picture of original size cannot be decoded here (damaged: " in report.reasons[0]


def test_an_older_bundle_says_that_it_has_no_originals(make_bundle) -> None:
    report = load(make_bundle("onnx", schema_version=3)).check()
    assert any("no pictures of original size" in note for note in report.notes)


def _app(bundle: Path, folder: Path, file: Path, framing: Framing, **changes: object) -> dict:
    """What an app's test does: read the written pictures, resize, embed, write JSON."""
    from runtime_py.picture_files import read_picture

    about = json.loads((folder / "originals.json").read_text())
    encoder = load(bundle)
    rows = {
        name: encoder.embed(read_picture(folder / name, framing)[None])[0].tolist() for name in about["files"]
    }
    stated = {"seal": about["seal"], "embeddings": rows} | changes
    file.write_text(json.dumps(stated))
    return stated


def test_an_app_is_judged_by_what_it_wrote(
    make_bundle, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bundle, folder, file = make_bundle("onnx"), tmp_path / "pictures", tmp_path / "app.json"
    assert main([str(bundle), "--write-originals", str(folder)]) == 0
    assert "wrote 7 pictures" in capsys.readouterr().err
    stated = _app(bundle, folder, file, SIZE)
    assert main([str(bundle), "--embeddings", str(file), "--json"]) == 0
    names = [gate["name"] for gate in json.loads(capsys.readouterr().out)[0]["report"]["gates"]]
    assert "preprocess.app.min_cosine" in names and "preprocess.min_cosine" in names
    _app(bundle, folder, file, _wrong(antialias=False))
    assert main([str(bundle), "--embeddings", str(file)]) == 5
    assert "preprocess.app.min_cosine is" in capsys.readouterr().out
    rows = stated["embeddings"]
    for wrong, problem in (
        ({"seal": "0"}, "is of the bundle with seal '0'"),
        ({"embeddings": []}, "has no object `embeddings`"),
        (
            {"embeddings": rows | {"x.png": [1], "original_00.png": [1, 2], "original_01.png": "1"}},
            "'x.png' is not a picture of the bundle; original_00.png has 2 numbers, not 16; "
            "original_01.png is not a list of numbers",
        ),
        (
            {"embeddings": {k: v for k, v in rows.items() if k != "original_02.png"}},
            "original_02.png has no embedding",
        ),
    ):
        file.write_text(json.dumps(stated | wrong))
        assert main([str(bundle), "--embeddings", str(file)]) == 2
        assert problem in capsys.readouterr().out
    file.write_text(json.dumps({"embeddings": rows}))
    assert main([str(bundle), "--embeddings", str(file)]) == 2
    assert "has no `seal`; copy that of originals.json into it" in capsys.readouterr().out
    file.write_text("{")
    assert main([str(bundle), "--embeddings", str(file)]) == 2
    assert "is not JSON" in capsys.readouterr().out
    assert main([str(bundle), str(make_bundle("onnx", out="two")), "--embeddings", str(file)]) == 2
    assert "are of one bundle, and 2 are given" in capsys.readouterr().err


def test_damaged_originals_are_refused(probes: Probes, tmp_path: Path) -> None:
    whole = probes.originals.arrays()
    assert unpacked(whole) == probes.originals.files
    for change, problem in (
        ({"original_ends": whole["original_ends"][::-1].copy()}, "does not divide"),
        ({"original_ends": whole["original_ends"] + 1}, "does not divide"),
        ({"originals": whole["originals"].astype(np.int16)}, "originals is int16"),
        (packed((b"GIF89a", b"GIF89a")), "neither PNG nor JPEG"),
        ({"original_embeddings": whole["original_embeddings"] * 2}, "not of unit length"),
    ):
        replace(probes, originals=None).save(tmp_path / "probes.npz")
        with np.load(tmp_path / "probes.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(tmp_path / "probes.npz", **arrays, **(whole | change))
        with pytest.raises(BundleError, match=problem):
            Probes.load(tmp_path / "probes.npz")
    np.savez(tmp_path / "probes.npz", **arrays, originals=whole["originals"])
    with pytest.raises(BundleError, match="not all of"):
        Probes.load(tmp_path / "probes.npz")
