"""Random damage to a package: it is refused with a BundleError, or harmless; never any other exception."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime_py.errors import BundleError
from runtime_py.mil.executor import Executor
from runtime_py.mil.package import Package
from tests.exporters.nets import glyph_images

FILES = ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"]
PIXELS = glyph_images(1).transpose(0, 3, 1, 2).astype(np.float32)


def outcome(path: Path) -> str:
    try:
        Executor(Package(path)).run({"image": PIXELS})
    except BundleError as error:
        assert path in (error.file, *error.file.parents) and error.problem
        return "refused"
    except ValueError as error:
        # The program takes another input than the caller gives: for the caller to see.
        assert "input 'image'" in str(error) or "no input" in str(error)
        return "refused"
    return "harmless"


@pytest.mark.parametrize("file", FILES)
def test_damaged_bytes_are_refused_or_harmless(file: str, artifact, tmp_path_factory) -> None:
    whole = (artifact("fp32").path / file).read_bytes()
    seen: set[str] = set()
    copy = shutil.copytree(artifact("fp32").path, tmp_path_factory.mktemp("damage") / "x.mlpackage")

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8), st.booleans())
    def damage(at: int, content: bytes, cut: bool) -> None:
        damaged = whole[:at] if cut else whole[:at] + content + whole[at + len(content) :]
        (copy / file).write_bytes(damaged)
        seen.add(outcome(copy))

    damage()
    assert "refused" in seen
