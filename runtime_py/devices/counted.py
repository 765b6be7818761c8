"""What runs on the emulator that counts: `python -m runtime_py.devices.counted JOB`.

JOB is the folder that was pushed. The emulator adds to the number in `counter` of it while the runtime runs; the counts
of single embeddings go to `counts.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from runtime_py.backends import open_backend
from runtime_py.backends.base import Closable
from runtime_py.devices.guest import COPY
from runtime_py.loading import read_manifest

COUNTER = "counter"
COUNTS = "counts.json"
EMBEDDINGS = 3
"""How many are counted. The one before them is not: a runtime's first allocates."""


def main(job: Path) -> None:
    """Count the pushed bundle's instructions."""
    counts = count(job / COPY, job / COUNTER)
    (job / COUNTS).write_text(json.dumps(counts))


def count(bundle: Path, counter: Path) -> list[int]:
    """Return how many instructions single embeddings of one image take here, on one thread.

    Args:
        bundle: Its folder.
        counter: File with the count of all instructions until now, little-endian in its first 8 bytes.
    """
    # A runtime takes a thread for each processor that it may use, and idle ones spin.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    manifest = read_manifest(bundle)
    image = np.full((1, *manifest.input.image_size, 3), 127, np.uint8)
    backend = open_backend(manifest.target, bundle / manifest.artifact, manifest.input, manifest.output)
    file = os.open(counter, os.O_RDONLY)
    try:
        seen = []
        for _ in range(1 + EMBEDDINGS):
            before = os.pread(file, 8, 0)
            backend.run(image)
            seen.append(_number(os.pread(file, 8, 0)) - _number(before))
    finally:
        os.close(file)
        if isinstance(backend, Closable):
            backend.close()
    return seen[1:]


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
