"""What does `embed()` take beyond the runtime's own call? One picture of 224 px, raw calls and `embed()` in turns.

    python -m benchmarks.embed_overhead [--backbone mobilenetv3_small_100] [--size 224] [--rounds 15]

The raw call gets float32 pixels in the artifact's layout, made beforehand, and its output is not copied. `embed()` gets
uint8 pixels: it checks them, arranges them, calls the same runtime and copies the embedding. One core, medians of the
rounds (`exporters.timing`), and the median of the ratios of rounds that follow each other. Untrained weights take the
same time as trained ones.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from exporters.timing import interleave, one_core
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.package.metadata import preprocessing_of
from runtime_py.backends import open_backend
from runtime_py.backends.base import InputBuffer
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import Target
from runtime_py.encoder import QueryEncoder

TARGETS: tuple[Target, ...] = ("onnx", "executorch", "tflite")


def artifact_of(encoder: Encoder, images: np.ndarray[Any, Any], target: Target, folder: Path) -> Artifact:
    """Convert an encoder as an export does."""
    identity = Identity("timed", "timed", 1.0, encoder.dimension, "0")
    spec = ExportSpec(identity, preprocessing_of(encoder), "fp32", images)
    with quiet(Path(os.devnull)):
        return get_exporter(target).convert(encoder, spec, folder)


def raw_call(backend: Any, target: Target, ready: np.ndarray[Any, Any]) -> Callable[[], object]:
    """Return the runtime's own call on an input that is ready."""
    if target == "onnx":
        session, feed = backend._session, {backend._feed: ready}
        return lambda: session.run(None, feed)
    if target == "executorch":
        tensor = torch.from_numpy(ready)
        return lambda: backend._forward.execute([tensor])
    interpreter, given, found = backend._interpreter, backend._in["index"], backend._out["index"]

    def call() -> object:
        interpreter.set_tensor(given, ready)
        interpreter.invoke()
        return interpreter.get_tensor(found)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="mobilenetv3_small_100", help="a network of timm")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)
    encoder = Encoder.from_timm(options.backbone, dimension=128, image_size=(options.size, options.size))
    images = np.random.default_rng(0).integers(0, 256, (8, options.size, options.size, 3), np.uint8)
    reestimate(encoder, torch.from_numpy(images))
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as folder, one_core():
            artifact = artifact_of(encoder.eval(), images, target, Path(folder))
            backend = open_backend(target, artifact.path, artifact.input, artifact.output)
            stands_for = SimpleNamespace(preprocessing=preprocessing_of(encoder))
            query = QueryEncoder(cast("Any", stands_for), cast("Any", None), backend)
            raw = raw_call(backend, target, InputBuffer(artifact.input).fill(images[0]).copy())
            pairs = [
                interleave([raw, lambda query=query: query.embed(images[:1])], 1)
                for _ in range(options.rounds)
            ]
        ratio = statistics.median(ours.median_ms / theirs.median_ms for theirs, ours in pairs)
        theirs, ours = (statistics.median(pair[n].median_ms for pair in pairs) for n in (0, 1))
        print(f"{target:10} raw {theirs:7.3f} ms   embed() {ours:7.3f} ms   ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
