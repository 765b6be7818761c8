"""Train under glibc's heap checker, with oneDNN's kernels for processors without AVX-512.

    python -m benchmarks.checked_steps [--steps 1000] [--only narrow mobileone_s0 fastvit_t8]

A damaged heap ends the child process that trains; this command then exits with 1. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKER = "libc_malloc_debug.so.0"
NETWORKS: dict[str, dict[str, Any]] = {
    "narrow": {"backbone": "resnet18", "options": {"channels": [4, 4, 8, 8], "layers": [1, 1, 1, 1]}},
    "mobileone_s0": {"backbone": "mobileone_s0"},
    "fastvit_t8": {"backbone": "fastvit_t8"},
}
_METHOD = {
    "narrow": {"name": "prunnet-channel", "capacities": [0.4], "channel_multiple": 1},
}
_WHOLE = {"name": "magnitude"}
"""Their narrow layer is the first, which reads the picture's three channels at every capacity."""


def environment(threads: int = 1) -> dict[str, str]:
    """Return the environment of a process whose heap is checked."""
    return os.environ | {
        "LD_PRELOAD": CHECKER,
        "MALLOC_CHECK_": "3",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OMP_NUM_THREADS": str(threads),
    }


def checker_is_there() -> bool:
    """Tell whether this machine's C library has the checker."""
    probe = [sys.executable, "-c", "import ctypes; ctypes.CDLL('libc_malloc_debug.so.0')"]
    return subprocess.run(probe, capture_output=True).returncode == 0


def checked(network: str, steps: int) -> subprocess.CompletedProcess[str]:
    """Train one of `NETWORKS` in a child process whose heap is checked."""
    command = [sys.executable, "-m", "benchmarks.checked_steps", "--steps", str(steps), "--child", network]
    root = Path(__file__).parents[1]
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True)


def _train(network: str, steps: int) -> None:
    from prunnet.data.glyph_set import glyph_set
    from prunnet.train.recipe.recipe import Recipe
    from prunnet.train.training import train

    size = 32
    recipe = Recipe.model_validate(
        {
            "schema_version": 1,
            "name": network,
            "data": {"name": "glyphs"},
            "encoder": {**NETWORKS[network], "image_size": [size, size], "dimension": 16},
            "method": _METHOD.get(network, _WHOLE),
            "schedule": {
                "steps": steps,
                "batch_size": 16 if network == "narrow" else 2,
                "learning_rate": 0.01,
            },
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, glyph_set(size).train, Path(folder), quiet=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--child", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _train(options.child, options.steps)
        return 0
    if not checker_is_there():
        print(f"{CHECKER} is not on this machine: glibc's checker is needed", file=sys.stderr)
        return 2
    damaged = 0
    for network in options.only:
        began = time.monotonic()
        done = checked(network, options.steps)
        damaged |= done.returncode != 0
        said = "no damage" if done.returncode == 0 else f"ended with {done.returncode}: {done.stderr[-500:]}"
        print(f"{network}: {options.steps} steps in {time.monotonic() - began:.0f} s, {said}", flush=True)
    return damaged


if __name__ == "__main__":
    raise SystemExit(main())
