from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime_py import BundleError, load
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.originals import Originals
from runtime_py.bundle.probes import Parity, Recorded
from runtime_py.bundle.tolerances import TABLE
from runtime_py.bundle.write import manifest_text
from runtime_py.check.drift import measure
from runtime_py.cli.outcome import Outcome
from runtime_py.cli.table import table
from runtime_py.disk.files import sha256
from runtime_py.framing import Resize
from tests.runtime_py import bundles, tiny

TARGETS = ["onnx", "tflite", "executorch"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_written_bundle_loads_embeds_and_is_compatible(make_bundle, target):
    encoder = load(make_bundle(target))
    images, _ = tiny.glyph_images()

    vectors = encoder.embed(images)

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, tiny.embed(tiny.tiny_encoder(), images), atol=2e-6)
    report = encoder.check()
    assert report.verdict == "compatible", report.reasons
    report.raise_if_incompatible()


def test_a_flipped_byte_anywhere_is_refused(make_bundle):
    bundle = make_bundle("onnx")
    rng = np.random.default_rng(0)
    for path in sorted(bundle.iterdir()):
        original = path.read_bytes()
        places = range(len(original)) if path.suffix == ".json" else rng.integers(0, len(original), 25)
        for place in places:
            flipped = bytearray(original)
            flipped[place] ^= int(rng.integers(1, 256))
            path.write_bytes(flipped)
            with pytest.raises(BundleError):
                load(bundle)
        path.write_bytes(original)
    load(bundle)


def test_a_truncated_file_is_refused(make_bundle):
    bundle = make_bundle("onnx")
    for path in sorted(bundle.iterdir()):
        original = path.read_bytes()
        for size in (0, 1, len(original) // 2, len(original) - 1):
            path.write_bytes(original[:size])
            with pytest.raises(BundleError, match=path.name):
                load(bundle)
        path.write_bytes(original)


def test_a_missing_file_is_named(make_bundle):
    bundle = make_bundle("onnx")
    for name in [path.name for path in sorted(bundle.iterdir())]:
        content = (bundle / name).read_bytes()
        (bundle / name).unlink()
        with pytest.raises(BundleError, match=name):
            load(bundle)
        (bundle / name).write_bytes(content)


def test_a_file_that_can_not_be_read_is_named(make_bundle, monkeypatch):
    bundle = make_bundle("onnx")

    def refuse(file, name):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    with pytest.raises(BundleError, match="cannot be read"):
        load(bundle)


@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt", ".hidden"])
def test_a_file_too_many_is_refused(make_bundle, name):
    bundle = make_bundle("onnx")
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("x")
    with pytest.raises(BundleError, match="not listed"):
        load(bundle)


def test_files_that_are_links_are_read_as_in_the_cache_of_a_model_hub(make_bundle, tmp_path):
    bundle = make_bundle("onnx")
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(bundle.iterdir())):
        shutil.move(path, tmp_path / "blobs" / str(number))
        path.symlink_to(f"../blobs/{number}")
    assert load(bundle).check().verdict == "compatible"
    (tmp_path / "blobs" / "0").write_bytes(b"other")
    with pytest.raises(BundleError, match="sha256"):
        load(bundle)


@pytest.mark.parametrize("target", ["absent", "/dev/zero", "."])
def test_a_link_to_anything_but_a_plain_file_is_refused(make_bundle, target):
    bundle = make_bundle("onnx")
    (bundle / "probes.npz").unlink()
    (bundle / "probes.npz").symlink_to(target)
    with pytest.raises(BundleError, match=r"link"):
        load(bundle)


@pytest.mark.parametrize(
    "name", ["../probes.npz", "/etc/hostname", "a/../probes.npz", "./probes.npz", "a\\b", "C:x", "", "."]
)
@pytest.mark.parametrize("field", ["artifact", "probes", "files"])
def test_a_path_that_leaves_the_bundle_is_refused(make_bundle, name, field):
    bundle = make_bundle("onnx")
    (bundle.parent / "probes.npz").write_bytes(b"secret")
    manifest = _manifest(bundle)
    changed = {**manifest.files, name: "0" * 64} if field == "files" else name
    _write_sealed(bundle, manifest.model_copy(update={field: changed}))
    with pytest.raises(BundleError, match="not a file of the bundle"):
        load(bundle)


def test_the_manifest_of_another_bundle_is_refused(make_bundle):
    bundle = make_bundle("onnx")
    other = make_bundle(
        "onnx", out="other", profile="other-device", created="2026-01-01T00:00:00Z", capacity=0.25
    )
    (other / "manifest.json").replace(bundle / "manifest.json")
    with pytest.raises(BundleError, match=r"prunnet\.capacity"):
        load(bundle)


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("encoder", "other", "prunnet.name"),
        ("space_id", "other-space", "prunnet.space_id"),
        ("capacity", 0.4, "prunnet.capacity"),
        ("prunnet_version", "9.9.9", "prunnet.version"),
    ],
)
def test_an_artifact_that_says_something_else_is_refused(make_bundle, field, value, key):
    bundle = make_bundle("tflite", **{field: value})
    with pytest.raises(BundleError, match=key):
        load(bundle)


def test_an_edited_manifest_breaks_the_seal(make_bundle):
    bundle = make_bundle("onnx")
    body = json.loads((bundle / "manifest.json").read_text())
    body["capacity"] = 0.9
    (bundle / "manifest.json").write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
    with pytest.raises(BundleError, match="seal"):
        load(bundle)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda body: body | {"schema_version": 6}, "schema version 6"),
        (lambda body: body | {"resize_inside": True}, "resize_inside is from schema version 5 on"),
        (lambda body: body | {"surprise": 1}, "surprise"),
        (lambda body: body | {"capacity": "0.5"}, "'capacity'"),
        (lambda body: {key: value for key, value in body.items() if key != "space_id"}, "space_id"),
        (lambda body: [body], "schema version None"),
    ],
)
def test_a_manifest_of_another_schema_is_refused(make_bundle, edit, problem):
    bundle = make_bundle("onnx")
    body = edit(json.loads((bundle / "manifest.json").read_text()))
    (bundle / "manifest.json").write_text(json.dumps(body))
    with pytest.raises(BundleError, match=problem):
        load(bundle)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[" * 100_000, '{"schema_version": 1, "schema_version": 1}']
)
def test_a_manifest_that_is_no_manifest_is_refused(make_bundle, text):
    bundle = make_bundle("onnx")
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load(bundle)


def test_a_key_that_occurs_twice_is_refused(make_bundle):
    path = make_bundle("onnx") / "manifest.json"
    path.write_text(path.read_text().replace("{", '{"capacity": 0.5,', 1))
    with pytest.raises(BundleError, match="a key occurs twice"):
        load(path.parent)


@pytest.mark.parametrize("field", ["artifact", "probes"])
def test_an_artifact_or_probes_that_are_not_listed_are_refused(make_bundle, field):
    bundle = make_bundle("onnx")
    _write_sealed(bundle, _manifest(bundle).model_copy(update={field: "absent"}))
    with pytest.raises(BundleError, match="not among its files"):
        load(bundle)


def test_probes_of_another_size_or_dimension_are_refused(make_bundle, probes):
    parity = probes.parity
    fewer = replace(parity, images=parity.images[:, ::2, ::2])
    small = replace(probes, images=np.ascontiguousarray(probes.images[:, ::2, ::2]), parity=fewer)
    with pytest.raises(BundleError, match=r"its images are \(16, 16\)"):
        load(make_bundle("onnx", own_probes=small))
    axes = np.eye(50, dtype=np.float32)
    wide = Parity(parity.images, axes[: len(parity.images)], axes[: len(parity.images)])
    with pytest.raises(BundleError, match="50 dimensions"):
        load(
            make_bundle(
                "onnx",
                own_probes=replace(
                    probes,
                    dense=axes,
                    subnetwork=axes,
                    parity=wide,
                    originals=Originals(probes.originals.files[:2], axes[:2]),
                ),
            )
        )


def test_a_bundle_of_schema_version_1_is_read_and_checked_as_far_as_it_goes(make_bundle, probes):
    old = replace(probes, parity=None)
    record = measure(np.array(old.subnetwork), old, bundles.VERSION_1, "torch")
    bundle = make_bundle("onnx", own_probes=old, schema_version=1, drift=record)
    body = json.loads((bundle / "manifest.json").read_text())
    assert set(body["drift"]["tolerances"]) == {
        "min_cosine", "min_mean_cosine", "min_top1_agreement", "max_recall_drop", "max_map_drop",
    }  # fmt: skip
    encoder = load(bundle)
    assert encoder.manifest.drift.tolerances == bundles.VERSION_1
    assert encoder.manifest.drift.figures.closeness is None
    report = encoder.check()
    assert report.verdict == "compatible", report.reasons
    assert {gate.name.split(".")[0] for gate in report.gates} == {"parity", "compatibility"}
    assert "parity pictures" in report.notes[0] and "parity pictures" in table([Outcome(bundle, report)])
    body["drift"]["tolerances"]["min_closeness"] = 0.1
    (bundle / "manifest.json").write_text(json.dumps(body))
    with pytest.raises(BundleError, match="not spelled"):
        load(bundle)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_manifest_that_an_older_version_really_wrote_is_read(version):
    """`manifest_v1.json` to `manifest_v3.json`: of the built-in encoder, by the last commit that wrote that version."""
    path = Path(__file__).with_name(f"manifest_v{version}.json")
    manifest = Manifest.model_validate_json(path.read_bytes(), strict=True)
    assert manifest.schema_version == version and manifest.seal == manifest.expected_seal()
    assert manifest_text(manifest) == path.read_text()
    assert manifest.preprocessing.resize == Resize()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_parity_pictures_and_schema_version_go_together(make_bundle, probes, version):
    wrong = replace(probes, parity=None) if version > 1 else probes
    record = measure(
        np.array(probes.subnetwork), wrong, bundles.VERSION_1 if version == 1 else TABLE["fp32"], "torch"
    )
    with pytest.raises(BundleError, match=f"parity pictures, and its manifest is of schema {version}"):
        load(make_bundle("onnx", own_probes=wrong, schema_version=version, drift=record))


def test_a_manifest_of_version_2_states_every_tolerance(probes):
    manifest = bundles.manifest("onnx", probes)
    bare = manifest.drift.model_copy(update={"tolerances": bundles.VERSION_1})
    with pytest.raises(ValueError, match=r"max_recorded_change.*min_closeness.* not stated"):
        Manifest.model_validate(manifest.model_copy(update={"drift": bare}).model_dump())


def test_a_manifest_of_version_3_says_what_a_quantised_artifact_was_held_against(probes):
    manifest = bundles.manifest("onnx", probes).model_copy(update={"precision": "int8"})
    with pytest.raises(ValueError, match=r"max_compression_drop.*drift\.twin.* not stated; schema version 4"):
        Manifest.model_validate(manifest.model_dump())
    old = manifest.model_copy(update={"schema_version": 2})
    assert Manifest.model_validate(old.model_dump()).precision == "int8"


@pytest.mark.parametrize(("version", "precision"), [(4, "int8"), (4, "fp32"), (3, "mixed")])
def test_float_layers_are_of_a_mixed_artifact_alone(version, precision):
    body = json.loads(Path(__file__).with_name("manifest_v3.json").read_text())
    names = ("min_preprocess_cosine", "min_preprocess_mean_cosine", "max_same_runtime_share")
    body["drift"]["tolerances"] |= dict.fromkeys(names, 0.98)
    assert Manifest.model_validate(
        body | {"schema_version": 4, "precision": "mixed", "float_layers": ["stem"]}
    )
    twin = body["drift"]["twin"] if precision != "fp32" else None
    changed = {"schema_version": version, "precision": precision, "float_layers": ["stem"]}
    with pytest.raises(ValueError, match="float_layers are of the precision mixed alone"):
        Manifest.model_validate(body | changed | {"drift": body["drift"] | {"twin": twin}})


def test_a_manifest_of_version_4_states_the_resize(make_bundle):
    stated = {"filter": "bicubic", "antialias": True, "fit": "crop", "scale": 0.875, "fill": [0, 0, 0]}
    bundle = make_bundle("onnx")
    manifest = _manifest(bundle)
    framed = manifest.preprocessing.model_copy(update={"resize": Resize.model_validate(stated)})
    _write_sealed(bundle, manifest.model_copy(update={"preprocessing": framed}))
    assert json.loads((bundle / "manifest.json").read_text())["preprocessing"]["resize"] == stated
    assert load(bundle).manifest.preprocessing.resize == framed.resize
    old = manifest.model_copy(update={"preprocessing": framed, "schema_version": 3})
    (bundle / "manifest.json").write_text(
        json.dumps({**old.sealed().body(), "preprocessing": framed.model_dump(mode="json")})
    )
    with pytest.raises(BundleError, match=r"seal is broken|not spelled"):
        load(bundle)


@pytest.mark.parametrize("version", [3, 4])
def test_originals_and_schema_version_go_together(make_bundle, probes, version):
    bundle = make_bundle("onnx", schema_version=version)
    manifest = _manifest(bundle)
    wrong = replace(probes, originals=None) if version > 3 else probes
    wrong.save(bundle / "probes.npz")
    files = manifest.files | {"probes.npz": sha256(bundle / "probes.npz")}
    _write_sealed(bundle, manifest.model_copy(update={"files": files}))
    with pytest.raises(
        BundleError, match=f"pictures of original size, and its manifest is of schema {version}"
    ):
        load(bundle)


def test_what_a_float_artifact_gave_at_the_export_is_not_stored(make_bundle, probes):
    given = Recorded(np.array(probes.subnetwork), np.array(probes.parity.subnetwork))
    with pytest.raises(BundleError, match="holds some of the embeddings that a quantised artifact gave"):
        load(make_bundle("onnx", own_probes=replace(probes, recorded=given)))


@pytest.mark.parametrize("shape", [(1, 3, 0, 48), (3, 48, 48)])
def test_an_input_that_is_no_picture_is_refused_where_the_artifact_resizes(make_bundle, shape):
    bundle = make_bundle("onnx")
    manifest = _manifest(bundle)
    taken = manifest.input.model_copy(update={"shape": shape})
    changes = {"schema_version": 5, "resize_inside": True, "input": taken}
    _write_sealed(bundle, manifest.model_copy(update=changes))
    with pytest.raises(BundleError, match="is not an image"):
        load(bundle)


def test_a_path_that_is_no_bundle_is_named(tmp_path):
    (tmp_path / "file").touch()
    for name, problem in (("absent", "does not exist"), ("file", "is not a folder"), ("a\0b", "null")):
        with pytest.raises(BundleError, match=problem):
            load(tmp_path / name)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load(tmp_path)


def _manifest(bundle: Path) -> Manifest:
    return Manifest.model_validate_json((bundle / "manifest.json").read_text())


def _write_sealed(bundle: Path, manifest: Manifest) -> None:
    (bundle / "manifest.json").write_text(manifest_text(manifest.sealed()))
