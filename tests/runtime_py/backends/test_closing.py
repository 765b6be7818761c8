"""Threads and forked processes that embed while the encoder is closed or in use: embeddings, or `ClosedError`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from runtime_py import load
from runtime_py.backends import open_backend
from runtime_py.backends.executorch_runner import RUNNER
from runtime_py.encoder import QueryEncoder
from runtime_py.errors import ClosedError
from tests.runtime_py import tiny

THREADS = 4
ROUNDS = 5


def embed_until_closed(encoder: QueryEncoder, images: np.ndarray, wanted: np.ndarray) -> None:
    """Close the encoder while all threads embed; fail if one gets anything but `wanted` before `ClosedError`."""
    running = threading.Barrier(THREADS + 1)

    def work() -> None:
        np.testing.assert_allclose(encoder.embed(images), wanted, atol=1e-6)
        running.wait(60)
        while True:
            try:
                found = encoder.embed(images)
            except ClosedError:
                return
            np.testing.assert_allclose(found, wanted, atol=1e-6)

    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(work) for _ in range(THREADS)]
        running.wait(60)
        encoder.close()
        for thread in threads:
            thread.result(60)
    with pytest.raises(ClosedError, match="is closed; load its bundle again"):
        encoder.embed(images)


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_threads_embed_until_the_encoder_closes(make_bundle, monkeypatch, target):
    monkeypatch.delenv(RUNNER, raising=False)
    images, _ = tiny.glyph_images()
    bundle = make_bundle(target)
    wanted = load(bundle).embed(images[:2])
    for _ in range(ROUNDS):
        embed_until_closed(load(bundle), images[:2], wanted)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Open encoders of one Core ML program, which torch executes off macOS; with pictures for them."""
    from exporters.targets.registry import get_exporter
    from tests.exporters.nets import SmallEncoder, glyph_images, spec

    made = get_exporter("coreml").convert(
        SmallEncoder(), spec(precision="fp32"), tmp_path_factory.mktemp("coreml")
    )
    stated = SimpleNamespace(takes=spec().preprocessing, encoder="small", target="coreml")

    def opened() -> QueryEncoder:
        backend = open_backend("coreml", made.path, made.input, made.output)
        return QueryEncoder(cast(Any, stated), cast(Any, None), backend)

    return opened, glyph_images(2)


def test_threads_embed_until_the_executor_of_core_ml_closes(executed):
    opened, images = executed
    wanted = opened().embed(images)
    for _ in range(ROUNDS):
        embed_until_closed(opened(), images, wanted)


def in_a_fork(work: Callable[[], str]) -> str:
    """Return what `work` returns, or the error that it raises, in a forked process; "hangs" after ten seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        try:
            said = work()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    return said if os.waitpid(child, 0)[1] == 0 else "hangs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_a_forked_process_is_refused_and_never_waits(make_bundle, monkeypatch, target):
    monkeypatch.delenv(RUNNER, raising=False)
    images, _ = tiny.glyph_images()
    encoder = load(make_bundle(target))
    wanted = encoder.embed(images[:1])
    inside, leave, backend = threading.Event(), threading.Event(), encoder._backend

    class Held:
        def run(self, images: np.ndarray) -> np.ndarray:
            inside.set()
            assert leave.wait(60)
            return backend.run(images)

    def expect_refusals() -> None:
        for use in (
            lambda: encoder.embed(images[:1]),
            lambda: encoder.self_check(every=timedelta(0)),
            encoder.check,
        ):
            said = in_a_fork(lambda use=use: str(use()))
            assert "ClosedError" in said and "was loaded before this process was forked" in said
        assert in_a_fork(lambda: str(encoder.close())) == "None"

    expect_refusals()
    encoder._backend = Held()
    with ThreadPoolExecutor(1) as pool:
        embedding = pool.submit(encoder.embed, images[:1])
        assert inside.wait(60)
        try:
            expect_refusals()
        finally:
            leave.set()
        np.testing.assert_allclose(embedding.result(60), wanted, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(images[:1]), wanted, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_process_may_load_its_own(make_bundle):
    images, _ = tiny.glyph_images()
    bundle = make_bundle("onnx")
    wanted = load(bundle).embed(images[:1])
    assert in_a_fork(lambda: str(np.allclose(load(bundle).embed(images[:1]), wanted, atol=1e-6))) == "True"
