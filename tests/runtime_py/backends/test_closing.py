"""Threads that embed while the encoder is closed: each call ends with embeddings or with `ClosedError`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
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


def test_threads_embed_until_the_executor_of_core_ml_closes(tmp_path):
    from exporters.targets.registry import get_exporter
    from tests.exporters.nets import SmallEncoder, glyph_images, spec

    made = get_exporter("coreml").convert(SmallEncoder(), spec(precision="fp32"), tmp_path)
    stated = SimpleNamespace(preprocessing=spec().preprocessing, encoder="small", target="coreml")
    images = glyph_images(2)
    wanted = open_backend("coreml", made.path, made.input, made.output).run(images)
    for _ in range(ROUNDS):
        backend = open_backend("coreml", made.path, made.input, made.output)
        embed_until_closed(QueryEncoder(cast(Any, stated), cast(Any, None), backend), images, wanted)
