from __future__ import annotations

import gc
import json
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from runtime_py import IncompatibleError, load
from runtime_py.bundle.write import write_bundle
from runtime_py.errors import ClosedError, InferenceError, PictureError
from runtime_py.picture_files import read_picture
from tests.runtime_py import bundles, tiny
from tests.runtime_py.artifacts import IDENTITY, write_failing_onnx


@pytest.fixture
def encoder(make_bundle):
    return load(make_bundle("onnx"))


def test_no_images_give_no_embeddings(encoder):
    assert encoder.embed(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, tiny.DIMENSION)


def test_a_batch_equals_its_images_one_by_one(encoder):
    images, _ = tiny.glyph_images()
    together = encoder.embed(images[:5])
    assert np.array_equal(together, np.concatenate([encoder.embed(image[None]) for image in images[:5]]))


def test_any_memory_layout_gives_the_same_embeddings(encoder):
    images, _ = tiny.glyph_images()
    assert np.array_equal(encoder.embed(np.asfortranarray(images)), encoder.embed(images))
    assert np.array_equal(encoder.embed(images[::2]), encoder.embed(images)[::2])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.float32), TypeError, "float32, not a uint8 array"),
        ([[[[0, 0, 0]]]], TypeError, "list, not a uint8 array"),
        (np.zeros((32, 32, 3), np.uint8), ValueError, r"images\[None\]"),
        (np.zeros((1, 3, 32, 32), np.uint8), ValueError, r"\[1, 3, 32, 32\], not \[N, H, W, 3\]"),
        (np.zeros((1, 32, 32, 4), np.uint8), ValueError, r"not \[N, H, W, 3\] in RGB"),
        (
            np.zeros((1, 64, 48, 3), np.uint8),
            ValueError,
            "64 x 48.*32 x 32: use embed_pictures.*bilinear, antialiased, stretched",
        ),
        (np.zeros((), np.uint8), ValueError, "shape"),
    ],
)
def test_bad_images_are_refused_with_the_remedy(encoder, images, error, message):
    with pytest.raises(error, match=message):
        encoder.embed(images)


def test_a_bundle_of_another_subnetwork_drifts(make_bundle, probes):
    """The artifact is sound and its identity matches; only real images tell that its weights are others."""
    others = replace(probes, subnetwork=tiny.embed(tiny.tiny_encoder(seed=1), probes.images))
    report = load(make_bundle("onnx", own_probes=others)).check()
    assert report.verdict == "incompatible"
    assert report.reasons[0].startswith("parity.min_cosine")


def test_a_runtime_that_fails_is_not_verified(probes, tmp_path):
    write_failing_onnx(tmp_path / "failing.onnx", IDENTITY)
    draft = bundles.manifest("onnx", probes)
    encoder = load(write_bundle(draft, tmp_path / "failing.onnx", probes, tmp_path / "bundle"))
    with pytest.raises(InferenceError, match=r"ONNX Runtime .* failed while it embedded"):
        encoder.embed(probes.images)

    report = encoder.check()

    assert report.verdict == "not verified"
    with pytest.raises(IncompatibleError, match="not verified"):
        report.raise_if_incompatible()


def test_a_server_that_fails_is_not_verified(encoder, tmp_path):
    write_failing_onnx(tmp_path / "server.onnx", IDENTITY)
    report = encoder.check(tmp_path / "server.onnx")
    assert report.verdict == "not verified"
    assert report.reasons[0].startswith("the server failed")


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_a_closed_encoder_gives_its_artifact_back_and_says_so(make_bundle, target):
    images, _ = tiny.glyph_images()
    with load(make_bundle(target)) as encoder:
        backend = weakref.ref(encoder._backend)
        assert encoder.embed(images[:2]).shape == (2, tiny.DIMENSION)
    gc.collect()
    assert backend() is None
    encoder.close()
    uses = (
        lambda: encoder.embed(images[:1]),
        lambda: encoder.embed_pictures([]),
        encoder.check,
        lambda: encoder.self_check(every=timedelta(0)),
        encoder.__enter__,
    )
    for use in (*uses, *uses):
        with pytest.raises(ClosedError, match="is closed; load its bundle again"):
            use()
    assert encoder.runtime and encoder.manifest.target == target


def test_closing_waits_for_whoever_embeds(encoder):
    entered, leave = threading.Event(), threading.Event()
    backend = encoder._backend

    class Slow:
        def run(self, images):
            entered.set()
            assert leave.wait(10)
            return backend.run(images)

    encoder._backend = Slow()
    images, _ = tiny.glyph_images()
    with ThreadPoolExecutor(2) as pool:
        embedding = pool.submit(encoder.embed, images[:1])
        assert entered.wait(10)
        closing = pool.submit(encoder.close)
        with pytest.raises(TimeoutError):
            closing.result(0.1)
        leave.set()
        closing.result(10)
        assert embedding.result(10).shape == (1, tiny.DIMENSION)


def test_closing_in_a_signal_handler_that_interrupts_an_embedding_returns(encoder):
    """The embedding goes on after the handler: whoever waited for it there would wait for ever."""
    backend = encoder._backend
    closed = []

    class Interrupted:
        def run(self, images):
            signal.raise_signal(signal.SIGUSR1)
            assert not closed, "it is still in use"
            return backend.run(images)

        def close(self):
            closed.append(True)

    encoder._backend = Interrupted()
    images, _ = tiny.glyph_images()
    before = signal.signal(signal.SIGUSR1, lambda *_: encoder.close())
    alarm = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for itself"))
    signal.alarm(10)
    try:
        assert encoder.embed(images[:1]).shape == (1, tiny.DIMENSION)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGALRM, alarm)
    assert closed == [True]
    with pytest.raises(ClosedError):
        encoder.embed(images[:1])
    encoder.close()
    assert closed == [True]


def test_a_check_runs_when_it_is_due_and_once_for_all_threads(encoder):
    hour = timedelta(hours=1)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: encoder.self_check(every=hour), range(8)))
    (report,) = [each for each in reports if each is not None]
    assert report.verdict == "compatible"
    assert encoder.self_check(every=hour) is None
    assert encoder.self_check(every=timedelta(0)).verdict == "compatible"
    with pytest.raises(ValueError, match="zero or more"):
        encoder.self_check(every=timedelta(seconds=-1))
    with pytest.raises(TypeError, match=r"timedelta\(hours=6\)"):
        encoder.self_check(every=3600)


def test_a_report_from_the_field_says_what_it_is_about_and_shows_no_picture(encoder):
    posted = json.loads(json.dumps(encoder.field_report(encoder.check())))
    assert posted["bundle"]["prunnet.space_id"] == encoder.manifest.space_id
    assert posted["bundle"]["seal"] == encoder.manifest.seal
    assert posted["report"]["verdict"] == "compatible" and posted["time"].endswith("+00:00")
    assert len(json.dumps(posted)) < 20_000
    against = replace(encoder.check(), server="/home/somebody/dense.onnx")
    assert encoder.field_report(against)["report"]["server"] == "dense.onnx"


def test_pictures_are_read_as_training_reads_them(encoder, tmp_path):
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (90, 140, 3), dtype=np.uint8))
    wide.save(tmp_path / "plain.png")
    exif = wide.getexif()
    exif[0x0112] = 6
    wide.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    clear = wide.copy()
    clear.putalpha(Image.fromarray(rng.integers(0, 256, (90, 140), dtype=np.uint8)))
    clear.save(tmp_path / "clear.png")
    Image.fromarray(rng.integers(0, 65536, (60, 50), dtype=np.uint16)).save(tmp_path / "words.png")
    wide.convert("CMYK").save(tmp_path / "cmyk.tif")
    files = sorted(tmp_path.glob("*.*"))
    wanted = encoder.embed(np.stack([read_picture(file, (32, 32)) for file in files]))
    assert np.array_equal(encoder.embed_pictures(files), wanted)
    assert np.array_equal(encoder.embed_pictures([str(file) for file in files]), wanted)
    assert np.array_equal(encoder.embed_pictures(Image.open(file) for file in files), wanted)
    assert encoder.embed_pictures([]).shape == (0, tiny.DIMENSION)
    (tmp_path / "torn.png").write_bytes((tmp_path / "plain.png").read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"torn\.png"):
        encoder.embed_pictures([tmp_path / "torn.png"])
    loaded = Image.open(tmp_path / "turned.jpg")
    loaded.load()
    assert np.array_equal(encoder.embed_pictures([loaded]), encoder.embed_pictures([tmp_path / "turned.jpg"]))
    assert np.array_equal(
        encoder.embed_pictures([Image.fromarray(np.asarray(wide))]),
        encoder.embed_pictures([tmp_path / "plain.png"]),
    )
    for doubtful in ("clear.png", "words.png", "cmyk.tif"):
        decoded = Image.open(tmp_path / doubtful)
        decoded.load()
        with pytest.raises(PictureError, match="give the path of its file"):
            encoder.embed_pictures([decoded])
    with pytest.raises(PictureError, match="the given image"):
        encoder.embed_pictures([Image.fromarray(np.zeros((4, 4), np.int32))])
    for one in (str(files[0]), files[0], wide):
        with pytest.raises(TypeError, match="put it into a list"):
            encoder.embed_pictures(one)
    with pytest.raises(TypeError, match="embed takes arrays"):
        encoder.embed_pictures(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(TypeError, match="put it into a list"):
        encoder.embed_pictures(files[0].read_bytes())
    for odd in (np.zeros((32, 32, 3), np.uint8), files[0].read_bytes(), None):
        with pytest.raises(TypeError, match="is not a picture: give the path"):
            encoder.embed_pictures([odd])
