"""Bundles that `export_bundle` writes, as an application gets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporters.pipeline.export import export_bundle
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile
from tests.exporters.packages import write_package, write_profile

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(target, precision) -> the folder of a bundle; each is exported once."""
    folder = tmp_path_factory.mktemp("examples")
    package = load_encoder(write_package(folder / "tiny"))
    made: dict[tuple[str, str], Path] = {}

    def export(target: str, precision: str = "fp32") -> Path:
        if (target, precision) not in made:
            asked = f"{target}: {precision}"
            profile = write_profile(folder, f"{target}-{precision}", targets=target, precision=asked)
            made[target, precision] = export_bundle(package, load_profile(profile), target, folder).path
        return made[target, precision]

    return export
