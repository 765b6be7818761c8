"""Peak memory of an artifact on this host: what loading it and embedding one image adds to a process.

Run as a module it is the measured process itself: `python -m exporters.pipeline.memory TARGET ARTIFACT INPUT OUTPUT`,
the last two as JSON of their TensorInfo.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from exporters.targets.spec import Artifact
from runtime_py.backends import APPLE_ONLY
from runtime_py.children import python_command
from runtime_py.memory import MemoryWatch, first_plausible

TIMEOUT_SECONDS = 300


def peak_memory_bytes(target: str, artifact: Artifact) -> int | None:
    """Return the bytes that loading the artifact and embedding one image add to a process of its runtime.

    A fresh process, because neither allocators nor libraries give back what an earlier export used. The
    runtime's own code pages, which the first inference touches (4 to 8 MB), are taken off.

    Returns:
        Bytes, or None off Linux, where no peak can be read, and for Core ML, which runs on macOS alone; and if what was
        read cannot be true (`runtime_py.memory.first_plausible`).
    """
    if not MemoryWatch.is_possible() or target in APPLE_ONLY:
        return None
    command, environment = python_command("exporters.pipeline.memory")
    command += [target, str(artifact.path.resolve())]
    command += [artifact.input.model_dump_json(), artifact.output.model_dump_json()]
    return first_plausible(lambda: _added_bytes(command, environment), artifact.size)


def _added_bytes(command: list[str], environment: dict[str, str]) -> int:
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the process that measures memory failed: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])


def _measure(target: str, path: str, input_json: str, output_json: str) -> int:
    from importlib import import_module

    import numpy as np

    from runtime_py.backends import TARGETS, open_backend
    from runtime_py.bundle.manifest import TensorInfo

    taken, given = (TensorInfo.model_validate_json(text) for text in (input_json, output_json))
    import_module(TARGETS[target].module)
    image = np.full((1, *taken.image_size, 3), 127, np.uint8)
    watch = MemoryWatch(os.getpid(), Path(path))
    backend = open_backend(target, path, taken, given)
    backend.run(image)
    return watch.added_bytes()


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
