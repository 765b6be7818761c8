"""Packages of one small network, converted once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact
from tests.exporters.nets import SmallEncoder, spec


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Convert the small encoder once per precision."""
    made: dict[str, Artifact] = {}

    def convert(precision: str) -> Artifact:
        if precision not in made:
            folder = tmp_path_factory.mktemp(precision)
            made[precision] = get_exporter("coreml").convert(
                SmallEncoder(), spec(precision=precision), folder
            )
        return made[precision]

    return convert


@pytest.fixture
def copied(artifact: Callable[[str], Artifact], tmp_path: Path) -> Path:
    """A copy of the fp32 package that a test may damage."""
    return shutil.copytree(artifact("fp32").path, tmp_path / "copy.mlpackage")
