"""`examples/resize`: the ports give what `runtime_py` gives, value for value, over odd sizes, up and down."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from runtime_py.framing import Framing, Resize
from runtime_py.picture_files import resize

FOLDER = Path(__file__).parents[2] / "examples" / "resize"
SIZES = [(1, 1), (3, 97), (48, 48), (51, 77), (240, 161), (480, 640)]
INPUTS = [(48, 48), (33, 65)]
RULES = [
    Resize(),
    Resize(filter="bicubic"),
    Resize(fit="crop", scale=0.875),
    Resize(filter="bicubic", fit="crop", scale=0.95),
    Resize(fit="letterbox", fill=(114, 9, 255)),
    Resize(filter="bicubic", fit="letterbox"),
]


def _cases() -> list[tuple[np.ndarray, Framing]]:
    """Noise, whose values are all over the range, and saturated stripes, on which a cubic overshoots."""
    rng = np.random.default_rng(5)
    cases = []
    for (h, w), (height, width), rule in itertools.product(SIZES, INPUTS, RULES):
        noise = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        stripes = np.broadcast_to(
            (np.indices((h, w)).sum(0) // 3 % 2 * 255).astype(np.uint8)[:, :, None], (h, w, 3)
        )
        cases += [(each, Framing(height=height, width=width, resize=rule)) for each in (noise, stripes)]
    return cases


def _differs(command: list[str]) -> list[str]:
    """Run a port over all cases, and say where it gives something else."""
    cases = _cases()
    asked = []
    for pixels, framing in cases:
        rule = framing.resize
        numbers = (*pixels.shape[:2], *framing.size, rule.filter, rule.fit, rule.scale, *rule.fill)
        asked += [(" ".join(map(str, numbers)) + "\n").encode(), pixels.tobytes()]
    answer = subprocess.run(command, input=b"".join(asked), capture_output=True, check=True).stdout
    found, start = [], 0
    for pixels, framing in cases:
        count = framing.height * framing.width * 3
        got = np.frombuffer(answer[start : start + count], np.uint8).reshape(*framing.size, 3)
        start += count
        if not np.array_equal(got, resize(pixels, framing)):
            found.append(f"{pixels.shape[:2]} to {framing.size}, {framing.resize}")
    assert start == len(answer)
    return found


def test_cpp_is_equal_to_pillow(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++) is installed")
    program = tmp_path / "resize"
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    subprocess.run([compiler, *flags, str(FOLDER / "main.cpp"), "-o", str(program)], check=True)
    assert _differs([str(program)]) == []


def test_kotlin_is_equal_to_pillow(tmp_path: Path) -> None:
    compiler = shutil.which("kotlinc")
    if compiler is None or shutil.which("java") is None:
        pytest.skip("no Kotlin compiler (kotlinc, with java) is installed")
    program = tmp_path / "resize.jar"
    sources = [str(FOLDER / name) for name in ("Resize.kt", "main.kt")]
    subprocess.run([compiler, *sources, "-include-runtime", "-d", str(program)], check=True)
    assert _differs(["java", "-cp", str(program), "ai.prunnet.MainKt"]) == []
