"""What a user must see: the vendors' own runtimes, without this project, find what the torch subnetwork finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.data import open_test_pictures
from prunnet.encoder.embedding import embed
from prunnet.package.load import load_encoder
from tests.exporters.plain import run_executorch, run_onnx, run_tflite

CAPACITY = 0.2
PROBES = 500
PLAIN = {"onnx": run_onnx, "tflite": run_tflite, "executorch": run_executorch}


@pytest.mark.slow
@pytest.mark.parametrize("target", PLAIN)
def test_plain_runtimes_agree_on_500_unseen_images(target: str, tmp_path: Path) -> None:
    package = load_encoder("glyphs")
    pictures = open_test_pictures("glyphs", (48, 48))
    shipped = {image.tobytes() for image in package.probes.images}
    rows = np.random.default_rng(4).permutation(len(pictures.images))
    rows = np.array([r for r in rows if pictures.images[r].tobytes() not in shipped])
    queries, gallery = pictures.images[rows[:PROBES]], pictures.images[rows[PROBES:]]
    module = package.subnetwork(CAPACITY)
    spec = ExportSpec.of(package, package.prunable.at(CAPACITY).achieved, "fp32")
    artifact = get_exporter(target).convert(module, spec, tmp_path)
    found, identity = PLAIN[target](artifact.path, queries)
    assert identity["prunnet.space_id"] == package.space_id
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    dense = embed(package.subnetwork(1.0), gallery)
    nearest = (found @ dense.T).argmax(1)
    wanted = (embed(module, queries) @ dense.T).argmax(1)
    assert (nearest == wanted).mean() >= 0.99
