from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime_py import BundleError, IncompatibleError, load
from runtime_py.bundle.manifest import FloatTwin
from runtime_py.bundle.probes import Recorded
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.drift import figures_of, measure
from runtime_py.check.server import open_server
from runtime_py.check.server.pixels import layout_of
from runtime_py.errors import MissingExtraError, PrunnetError
from tests.runtime_py import tiny
from tests.runtime_py.artifacts import IDENTITY, write_onnx

SPACE = IDENTITY["prunnet.space_id"]


@pytest.fixture
def encoder(make_bundle):
    return load(make_bundle("onnx"))


@pytest.fixture(scope="session")
def onnx_server(tmp_path_factory):
    """(module, space id) -> an ONNX server."""
    folder = tmp_path_factory.mktemp("servers")

    def make(name: str, module: torch.nn.Module, space_id: str | None) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            write_onnx(module, path, {"prunnet.space_id": space_id} if space_id else {"other": "x"})
        return path

    return make


def gallery(path: Path, probes, **changes) -> Path:
    arrays = {"embeddings": probes.dense, "labels": probes.labels, "space_id": np.array(SPACE), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_the_dense_onnx_model_is_compatible(encoder, onnx_server):
    report = encoder.check(onnx_server("dense", tiny.near_encoder(), SPACE))
    assert report.verdict == "compatible", report.reasons
    assert report.server_figures["min_cosine"] == pytest.approx(1, abs=1e-6)
    assert {gate.name.split(".")[0] for gate in report.gates} == {
        "server",
        "parity",
        "compatibility",
        "closeness",
        "recorded",
        "preprocess",
    }


def test_the_servers_own_embeddings_are_the_gallery(encoder, onnx_server, probes):
    server = tiny.near_encoder(noise=0.1)
    report = encoder.check(onnx_server("drifted", server, SPACE))
    theirs = replace(probes, dense=tiny.embed(server, probes.images))
    expected = figures_of(encoder.embed(probes.images), theirs)
    assert report.figures.map == pytest.approx(expected.map, abs=1e-9)
    assert report.figures.map_dense == pytest.approx(expected.map_dense, abs=1e-9)
    assert report.figures.mean_cosine_to_dense == pytest.approx(expected.mean_cosine_to_dense, abs=1e-6)
    assert abs(expected.mean_cosine_to_dense - encoder.check().figures.mean_cosine_to_dense) > 1e-4


def test_an_export_error_that_only_the_servers_gallery_shows_is_caught(make_bundle, probes, tmp_path):
    """The artifact is close to the subnetwork, but this gallery holds an item between the two."""
    near = tiny.near_encoder(noise=0.003)
    subnetwork = tiny.embed(near, probes.images)
    parity = replace(probes.parity, subnetwork=tiny.embed(near, probes.parity.images))
    drifted = replace(probes, subnetwork=subnetwork, parity=parity)
    record = measure(np.array(subnetwork), drifted, TABLE["fp16"], "torch")
    encoder = load(make_bundle("onnx", own_probes=drifted, drift=record))
    found = encoder.embed(probes.images)
    path = gallery(
        tmp_path / "g.npz",
        probes,
        embeddings=np.concatenate([found, subnetwork]),
        labels=np.arange(100) + 1000,
    )
    assert encoder.check().verdict == "compatible"
    report = encoder.check(path)
    assert report.verdict == "incompatible"
    assert report.reasons[0].startswith("server.top1_agreement")


def test_an_artifact_that_rounds_otherwise_than_at_the_export_is_caught_beside_any_server(
    make_bundle, onnx_server, probes, tmp_path
):
    """The same release of a runtime: a difference as small as int8's own rounding is a fault."""
    rng = np.random.default_rng(0)

    def rounded(vectors):
        moved = vectors + 0.003 * rng.standard_normal(vectors.shape)
        return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)

    given, synthetic = rounded(probes.subnetwork), rounded(probes.parity.subnetwork)
    runtime = load(make_bundle("executorch")).runtime  # it shows no weights, which are not in int8
    record = measure(given, probes, TABLE["int8"], runtime, synthetic=synthetic)
    record = record.model_copy(
        update={"twin": FloatTwin(precision="fp32", runtime=runtime, figures=record.figures)}
    )
    kept = replace(probes, recorded=Recorded(given, synthetic))
    encoder = load(make_bundle("executorch", out="int8", own_probes=kept, precision="int8", drift=record))
    servers = None, gallery(tmp_path / "g.npz", probes), onnx_server("dense", tiny.near_encoder(), SPACE)
    for server in servers:
        reasons = encoder.check(server).reasons
        assert len(reasons) == 1 and reasons[0].startswith("recorded.mean_cosine"), (server, reasons)


def test_another_model_in_the_same_space_is_caught(encoder, onnx_server):
    """A space id is a claim; the embeddings decide."""
    report = encoder.check(onnx_server("impostor", tiny.tiny_encoder(seed=1), SPACE))
    assert report.verdict == "incompatible"
    assert report.reasons[0].startswith("server.min_cosine")


def test_a_model_whose_embeddings_are_not_finite_is_caught(encoder, onnx_server):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.log(x.mean(dim=(2, 3)) - 1000).repeat(1, 6)[:, : tiny.DIMENSION]

    report = encoder.check(onnx_server("nan", Broken(), SPACE))
    assert report.verdict == "incompatible"
    assert report.reasons[0].startswith("server.unit_length")


def test_a_parity_picture_without_a_direction_counts_as_the_opposite(encoder, onnx_server):
    class Dark(torch.nn.Module):
        """Gives nothing for one of the parity pictures alone."""

        def __init__(self):
            super().__init__()
            self.dense = tiny.near_encoder()
            picture = encoder.probes.parity.images[0]
            self.register_buffer("picture", torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32)))

        def forward(self, x):
            other = (x - self.picture).abs().amax(dim=(1, 2, 3)).clamp(max=1)
            return self.dense(x) * other[:, None]

    report = encoder.check(onnx_server("dark", Dark(), SPACE))
    assert report.server_figures["synthetic_min_cosine"] == -1
    assert any(reason.startswith("server.synthetic_min_cosine is -1") for reason in report.reasons)


@pytest.mark.parametrize("kind", ["onnx", "gallery"])
def test_another_space_is_refused_before_any_arithmetic(encoder, onnx_server, probes, tmp_path, kind):
    """The server could not even be computed with: its dimension or input size is another one."""

    class Tiny8(torch.nn.Module):
        def forward(self, x):
            return x[:, :, :8, :8].mean(dim=(2, 3))

    if kind == "onnx":
        path = onnx_server("foreign", Tiny8(), "foreign-space")
    else:
        foreign = np.eye(8, dtype=np.float32)
        path = gallery(
            tmp_path / "g.npz",
            probes,
            embeddings=foreign,
            labels=np.arange(8),
            space_id=np.array("foreign-space"),
        )
    with pytest.raises(IncompatibleError) as raised:
        encoder.check(path)
    assert SPACE in str(raised.value)
    assert "foreign-space" in str(raised.value)


@pytest.mark.parametrize("kind", ["onnx", "gallery"])
def test_a_server_without_a_space_id_is_not_verified(encoder, onnx_server, probes, tmp_path, kind):
    if kind == "onnx":
        path = onnx_server("anonymous", tiny.near_encoder(), None)
    else:
        path = gallery(tmp_path / "g.npz", probes, space_id=None)
    report = encoder.check(path)
    assert report.verdict == "not verified"
    assert (
        "no space id" in report.reasons[0]
        and "store the space id of its encoder package" in report.reasons[0]
    )
    with pytest.raises(IncompatibleError, match="not verified"):
        report.raise_if_incompatible()


def test_a_stored_gallery_is_retrieved_from(encoder, probes, tmp_path):
    report = encoder.check(gallery(tmp_path / "g.npz", probes))
    assert report.verdict == "compatible", report.reasons
    assert report.server_figures["recall_at_1_dense"] == 1.0  # the probes' own embeddings are in it
    assert set(report.server_figures) == {
        "top1_agreement",
        "topk_overlap",
        "top1_agreement_with_dense",
        "topk_overlap_with_dense",
        "recall_at_1",
        "recall_at_1_dense",
        "map",
        "map_dense",
    }


def test_a_gallery_whose_labels_do_not_meet_the_probes_has_no_recall(encoder, probes, tmp_path):
    report = encoder.check(gallery(tmp_path / "g.npz", probes, labels=probes.labels + 1000))
    assert report.verdict == "compatible"
    assert "recall_at_1" not in report.server_figures
    assert report.server_figures["top1_agreement_with_dense"] > 0.9


def test_a_gallery_where_the_artifact_finds_other_things_is_caught(make_bundle, probes, tmp_path):
    """The bundle passes on its own probes; in this gallery its small error changes the nearest item."""
    encoder = load(make_bundle("onnx"))
    found = encoder.embed(probes.images)
    decoys = probes.dense + 1.2 * (found - probes.dense)
    decoys /= np.linalg.norm(decoys, axis=1, keepdims=True)
    path = gallery(
        tmp_path / "g.npz",
        probes,
        embeddings=np.concatenate([probes.dense, decoys]).astype(np.float32),
        labels=np.concatenate([probes.labels, probes.labels + 1000]),
    )
    assert encoder.check().verdict == "compatible"
    report = encoder.check(path)
    assert report.server_figures["recall_at_1_dense"] == 1.0
    assert report.server_figures["recall_at_1"] < 0.5
    assert report.verdict == "incompatible"
    assert report.reasons[0].startswith("server.recall_at_1_drop")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"embeddings": None}, "no array 'embeddings'"),
        ({"labels": None}, "no array 'labels'"),
        ({"labels": np.zeros(3, np.int64)}, r"labels are int64 \[3\]"),
        ({"labels": np.zeros(50, np.int32)}, "labels are int32"),
        ({"embeddings": np.ones((50, 16), np.float32)}, "not of unit length"),
        ({"embeddings": np.full((50, 16), np.nan, np.float32)}, "not finite"),
        ({"embeddings": np.zeros((0, 16), np.float32)}, "embeddings are float32"),
        ({"embeddings": np.eye(50, 16)}, "embeddings are float64"),
        ({"space_id": np.array([{"a": 1}])}, "without pickles"),
    ],
)
def test_a_bad_gallery_is_a_bundle_error(encoder, probes, tmp_path, changes, problem):
    with pytest.raises(BundleError, match=problem):
        encoder.check(gallery(tmp_path / "g.npz", probes, **changes))


def test_a_gallery_of_another_dimension_is_incompatible(encoder, probes, tmp_path):
    path = gallery(tmp_path / "g.npz", probes, embeddings=np.eye(50, 51, dtype=np.float32))
    with pytest.raises(IncompatibleError, match="51 dimensions"):
        encoder.check(path)


@pytest.mark.parametrize("name", ["dense.onnx", "gallery.npz"])
def test_garbage_is_a_bundle_error(encoder, tmp_path, name):
    (tmp_path / name).write_bytes(b"abcd")
    with pytest.raises(BundleError, match=name):
        encoder.check(tmp_path / name)


def test_what_is_no_server_lists_what_would_be(encoder, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "absent.onnx", "absent.npz"):
        with pytest.raises(BundleError, match="SavedModel"):
            encoder.check(path)
    with pytest.raises(PrunnetError, match="glyphz"):
        encoder.check("glyphz")


def test_the_package_that_an_encoder_misses_is_the_one_that_is_named(monkeypatch, tmp_path):
    def load_without_timm(path):
        raise MissingExtraError("timm", "train", "the backbone")

    (tmp_path / "encoder.json").touch()
    monkeypatch.setattr("prunnet.package.server.open_encoder_package", load_without_timm)
    with pytest.raises(MissingExtraError, match="'timm'"):
        open_server(tmp_path)


def test_the_folder_of_a_run_is_not_the_server(tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "encoder.json").touch()
    with pytest.raises(BundleError, match=f"did you mean {tmp_path / 'encoder'}\\?"):
        open_server(tmp_path)


def test_an_encoder_package_embeds_as_the_server_does(encoder, tmp_path):
    """Through the entry point: the runtime itself knows nothing of packages."""
    from prunnet.package.load import load_encoder
    from tests.exporters.packages import write_package

    folder = write_package(tmp_path / "package")
    server = open_server(folder)
    package = load_encoder(folder)
    images = package.probes.images[:3]
    expected = tiny.embed(package.subnetwork(1.0), images)
    np.testing.assert_allclose(server.embed(images), expected, atol=1e-6)
    with pytest.raises(IncompatibleError, match=package.space_id):
        encoder.check(folder)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 3, 32, 32), "NCHW"), ((None, None, None, 3), "NHWC"), (("batch", 3, "h", "w"), "NCHW")],
)
def test_layouts_are_read_off_the_shape(shape, layout):
    assert layout_of(Path("m"), shape) == layout


@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (1, 32, 32, 1), (3, 32, 32), (8, 3, 32, 32)])
def test_a_shape_that_is_no_single_image_is_refused(shape):
    with pytest.raises(BundleError):
        layout_of(Path("m"), shape)


SAVE = """
import sys
import numpy as np
import tensorflow as tf
w = dict(np.load(sys.argv[1]))

class Dense(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = {name: tf.Variable(value) for name, value in w.items()}

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32)])
    def __call__(self, x):
        x = x / 64.0 - 2.0
        for i in ("1", "2"):
            x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
            x = tf.nn.conv2d(x, self.w["conv" + i], 2, "VALID")
            x = tf.nn.relu(x * self.w["scale" + i] + self.w["shift" + i])
        x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, 1024])
        return {"embedding": tf.math.l2_normalize(x @ self.w["head"] + self.w["bias"], axis=1)}

model = Dense()
tf.saved_model.save(model, sys.argv[2], signatures={sys.argv[3]: model.__call__})
"""


def save_tensorflow(folder: Path, signature: str = "serving_default") -> Path:
    """The dense tiny encoder as a SavedModel, written by a process of its own."""
    module = tiny.near_encoder()
    weights = {"head": module.head.weight.T, "bias": module.head.bias}
    for i, conv, bn in (("1", module.conv1, module.bn1), ("2", module.conv2, module.bn2)):
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        weights |= {f"conv{i}": conv.weight.permute(2, 3, 1, 0), f"scale{i}": scale}
        weights[f"shift{i}"] = bn.bias - bn.running_mean * scale
    stored = folder.with_suffix(".npz")
    np.savez(stored, **{name: value.detach().numpy() for name, value in weights.items()})
    subprocess.run(
        [sys.executable, "-c", SAVE, str(stored), str(folder), signature], check=True, capture_output=True
    )
    return folder


@pytest.mark.slow
def test_a_tensorflow_saved_model_is_a_server(encoder, tmp_path):
    folder = save_tensorflow(tmp_path / "saved")
    assert encoder.check(folder).verdict == "not verified"

    said = folder / "assets.extra" / "prunnet.json"
    said.parent.mkdir(exist_ok=True)
    said.write_text(json.dumps({"space_id": SPACE}))
    report = encoder.check(folder)
    assert report.verdict == "compatible", report.reasons
    assert report.server_figures["min_cosine"] == pytest.approx(1, abs=1e-5)

    said.write_text(json.dumps({"space_id": "foreign-space"}))
    with pytest.raises(IncompatibleError, match="foreign-space"):
        encoder.check(folder)

    said.write_text("[]")
    with pytest.raises(BundleError, match=r"prunnet\.json"):
        encoder.check(folder)
    said.unlink()
    (folder / "saved_model.pb").write_bytes(b"abcd")
    with pytest.raises(BundleError, match="TensorFlow does not open it"):
        encoder.check(folder)


def test_looser_tolerances_of_the_bundle_hold_for_the_server_too(make_bundle, onnx_server, probes):
    """A server that answers in fp16, say, of a fleet whose profile allows that."""
    server = onnx_server("near-dense", tiny.near_encoder(noise=0.1), SPACE)
    verdicts = []
    for least in (TABLE["fp32"].min_synthetic_cosine, -1.0):
        loose = TABLE["fp32"].model_copy(
            update={"min_cosine": -1.0, "min_mean_cosine": -1.0, "min_synthetic_cosine": least}
        )
        record = measure(
            np.array(probes.subnetwork), probes, loose, "torch", synthetic=probes.parity.subnetwork
        )
        report = load(make_bundle("onnx", drift=record)).check(server)
        gate = next(gate for gate in report.gates if gate.name == "server.synthetic_min_cosine")
        assert gate.value < 0.999
        verdicts.append((gate.tolerance, gate.passed))
    assert verdicts == [(0.999, False), (-1.0, True)]
