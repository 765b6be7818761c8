"""What runs on the device: `python -m runtime_py.devices.guest JOB`.

JOB is the folder that was pushed: `request.json`, `bundle/`, and `code/` with `runtime_py`. The answer goes to
`answer.json` in it.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends import entry_of, open_backend
from runtime_py.backends.base import Closable
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.share import share_of, stratified
from runtime_py.check.drift import examine, held_to
from runtime_py.check.figures import figures_of
from runtime_py.check.originals import with_preprocessing
from runtime_py.check.report import DriftReport
from runtime_py.devices.processor import processor
from runtime_py.encoder import QueryEncoder
from runtime_py.errors import CrashError, InferenceError, PrunnetError
from runtime_py.loading import load, read_manifest
from runtime_py.memory import MemoryWatch, first_plausible
from runtime_py.messages import to_message

ANSWER = "answer.json"
REQUEST = "request.json"
COPY = "bundle"
"""Name of the bundle's folder in the one that is pushed."""
_RUNTIMES = ("ai-edge-litert", "onnxruntime", "numpy", "pydantic")


def main(job: Path) -> None:
    """Answer the request of the pushed folder."""
    request = json.loads((job / REQUEST).read_text())
    answer = answer_to(job / COPY, request["probes"])
    (job / ANSWER).write_text(json.dumps(answer))


def answer_to(bundle: Path, count: int | None) -> dict[str, Any]:
    """Check a bundle here.

    Args:
        bundle: Its folder.
        count: How many probes; None means all.

    Returns:
        `message` (see `runtime_py.messages`), `cpu`, `isa`, `runtimes`, `memory_bytes`, and, if the bundle loads,
        `rows`, `of_probes` and `embeddings`: base64 of little-endian float32 [N, D].
    """
    cpu, isa = processor()
    answer: dict[str, Any] = {"cpu": cpu, "isa": isa, "runtimes": _versions(), "memory_bytes": None}
    kept: list[Floats] = []
    try:
        # First: what an earlier model gave back would not be seen to be taken.
        answer["memory_bytes"] = _peak_memory(bundle)
        encoder = load(bundle)
        rows = stratified(encoder.probes.labels, count or len(encoder.probes))
        answer |= {"rows": rows.tolist(), "of_probes": len(encoder.probes)}
        answer["message"] = to_message(_check(encoder, share_of(encoder.probes, rows), kept))
    except PrunnetError as error:
        answer["message"] = to_message(error)
    except Exception as error:  # whatever a runtime's binding raises on a damaged file
        answer["message"] = to_message(CrashError(bundle.name, f"met {type(error).__name__}: {error}"))
    if kept:
        answer["embeddings"] = base64.b64encode(kept[-1].astype("<f4").tobytes()).decode()
    return answer


def _check(encoder: QueryEncoder, probes: Probes, kept: list[Floats]) -> DriftReport:
    drift = encoder.manifest.drift

    def embed(images: Pixels) -> Floats:
        kept.append(encoder.embed_probes(images))
        return kept[-1]

    recorded = drift.figures
    if recorded is not None and len(probes) < len(encoder.probes):
        # The figures of the export are of all probes; of a share they follow from the stored embeddings.
        then = probes.recorded
        if then is not None:
            recorded = figures_of(then.probes, probes, then.parity)
        else:
            pictures = None if probes.parity is None else probes.parity.subnetwork
            recorded = figures_of(probes.subnetwork, probes, pictures)
    tolerances = held_to(drift, encoder.runtime, recorded)
    try:
        report = DriftReport.of(examine(embed, probes, tolerances, encoder.runtime, recorded), recorded)
        return with_preprocessing(report, encoder.embed, probes, encoder.manifest.takes)
    except InferenceError as error:
        kept.clear()  # of other pictures than the probes
        return DriftReport("not verified", (str(error),), None, tolerances, encoder.runtime)


def _peak_memory(bundle: Path) -> int | None:
    """Return what loading the artifact and embedding one image takes; None where that cannot be measured.

    A bundle that does not load is not judged here: `load` says what is wrong with it.
    """
    if not MemoryWatch.is_possible():
        return None
    with suppress(PrunnetError, RuntimeError, OSError):
        manifest = read_manifest(bundle)
        artifact = bundle / manifest.artifact
        return first_plausible(lambda: _measured(manifest, artifact), artifact.stat().st_size)
    return None


def _measured(manifest: Manifest, artifact: Path) -> int:
    import_module(entry_of(manifest.target).module)
    image = np.full((1, *manifest.input.image_size, 3), 127, np.uint8)
    watch = MemoryWatch(os.getpid(), artifact)
    backend = open_backend(manifest.target, artifact, manifest.input, manifest.output)
    try:
        backend.run(image)
        # A runner is a process of its own.
        theirs: MemoryWatch | None = getattr(backend, "memory", None)
        return (theirs or watch).added_bytes()
    finally:
        if isinstance(backend, Closable):
            backend.close()


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _RUNTIMES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
