"""Peak memory of an artifact on this host: what loading it and embedding one image adds to a process.

Run as a module it is the measured process itself: `python -m exporters.pipeline.memory TARGET ARTIFACT INPUT OUTPUT`,
the last two as JSON of their TensorInfo.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from exporters.targets.spec import Artifact
from runtime_py.children import python_command

STATUS = Path("/proc/self/status")
SMAPS = Path("/proc/self/smaps")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to clear_refs it sets VmHWM back to the present size (Linux, proc(5))."""

TIMEOUT_SECONDS = 300


def peak_memory_bytes(target: str, artifact: Artifact) -> int | None:
    """Return the bytes that loading the artifact and embedding one image add to a process of its runtime.

    A fresh process, because neither allocators nor libraries give back what an earlier export used. The
    runtime's own code pages, which the first inference touches (4 to 8 MB), are taken off.

    Returns:
        Bytes, or None off Linux, where no peak can be read, and for Core ML, which does not run here.
    """
    if not CLEAR_REFS.exists() or target == "coreml":
        return None
    command, environment = python_command("exporters.pipeline.memory")
    command += [target, str(artifact.path.resolve())]
    command += [artifact.input.model_dump_json(), artifact.output.model_dump_json()]
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


def _code_bytes(artifact: str) -> int:
    """Resident bytes of every mapped file but the artifact: libraries."""
    total, counted = 0, False
    for line in SMAPS.read_text().splitlines():
        words = line.split(maxsplit=5)
        if "-" in words[0]:
            counted = len(words) == 6 and words[5].startswith("/") and words[5] != artifact
        elif counted and words[0] == "Rss:":
            total += int(words[1]) * 1024
    return total


def _give_back_free_heap() -> None:
    """Let the C library return what imports freed, or loading would fill those pages first, uncounted."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc; musl keeps no such reserve
        trim(0)


def _resident(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _measure(target: str, path: str, input_json: str, output_json: str) -> int:
    from importlib import import_module

    import numpy as np

    from runtime_py.backends import TARGETS, open_backend
    from runtime_py.bundle.manifest import TensorInfo

    taken, given = (TensorInfo.model_validate_json(text) for text in (input_json, output_json))
    import_module(TARGETS[target].module)
    image = np.full((1, *taken.image_size, 3), 127, np.uint8)
    _give_back_free_heap()
    code = _code_bytes(path)
    CLEAR_REFS.write_text(RESET_PEAK)
    before = _resident("VmRSS")
    backend = open_backend(target, path, taken, given)
    backend.run(image)
    peak = _resident("VmHWM")
    return max(peak - before - (_code_bytes(path) - code), 0)


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
