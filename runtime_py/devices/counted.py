"""What runs on the emulator that counts: `python -m runtime_py.devices.counted JOB`.

JOB is the folder that was pushed. The emulator adds to the number in `counter` of it while the runtime runs; the counts
of single embeddings go to `counts.json`, with the embedding of the picture in `picture.npy`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TypedDict

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends import open_backend
from runtime_py.backends.base import Closable
from runtime_py.devices.guest import COPY
from runtime_py.loading import read_manifest

COUNTER = "counter"
COUNTS = "counts.json"
PICTURE = "picture.npy"
EMBEDDINGS = 3
"""How many are counted. The one before them is not: a runtime's first allocates."""


class Counted(TypedDict):
    """What `counts.json` holds.

    Attributes:
        counts: Instructions of single embeddings.
        embedding: Of the picture, D numbers.
    """

    counts: list[int]
    embedding: list[float]


def main(job: Path) -> None:
    """Count the pushed bundle's instructions."""
    counts, embedding = count(job / COPY, job / COUNTER, np.load(job / PICTURE))
    answer = Counted(counts=counts, embedding=embedding[0].tolist())
    (job / COUNTS).write_text(json.dumps(answer))


def count(bundle: Path, counter: Path, picture: Pixels) -> tuple[list[int], Floats]:
    """Return how many instructions single embeddings of a grey image take here, on one thread.

    Args:
        bundle: Its folder.
        counter: File with the count of all instructions until now, little-endian in its first 8 bytes.
        picture: uint8 [1, H, W, 3]. It is embedded first, uncounted, and its embedding, float32 [1, D], returned too.
    """
    # A runtime takes a thread for each processor that it may use, and idle ones spin.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    manifest = read_manifest(bundle)
    grey = np.full((1, *manifest.input.image_size, 3), 127, np.uint8)
    backend = open_backend(manifest.target, bundle / manifest.artifact, manifest.input, manifest.output)
    file = os.open(counter, os.O_RDONLY)
    try:
        embedding = backend.run(picture)
        seen = []
        for _ in range(EMBEDDINGS):
            before = os.pread(file, 8, 0)
            backend.run(grey)
            seen.append(_number(os.pread(file, 8, 0)) - _number(before))
    finally:
        os.close(file)
        if isinstance(backend, Closable):
            backend.close()
    return seen, embedding


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
