"""A second opinion on the TFLite artifact: tf2onnx translates it, and ONNX Runtime computes the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exporters.targets.registry import get_exporter
from tests.exporters.nets import SmallEncoder, glyph_images, spec, torch_embeddings


@pytest.mark.slow
def test_translated_to_onnx_the_artifact_computes_the_same(tmp_path: Path) -> None:
    import onnxruntime

    artifact = get_exporter("tflite").convert(SmallEncoder(), spec(), tmp_path)
    translated = tmp_path / "translated.onnx"
    # In a process of its own: it imports TensorFlow.
    subprocess.run(
        [sys.executable, "-m", "tf2onnx.convert", "--tflite", artifact.path, "--output", translated],
        check=True,
        capture_output=True,
    )
    session = onnxruntime.InferenceSession(str(translated), providers=["CPUExecutionProvider"])
    (name,) = [taken.name for taken in session.get_inputs()]
    images = glyph_images(8)
    found = np.concatenate([session.run(None, {name: image[None].astype(np.float32)})[0] for image in images])
    np.testing.assert_allclose(found, torch_embeddings(SmallEncoder(), images), atol=1e-5)
