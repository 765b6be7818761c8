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
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """target -> the folder of a bundle in the target's default precision; each is exported once."""
    folder = tmp_path_factory.mktemp("examples")
    package = load_encoder(write_package(folder / "tiny"))
    made: dict[str, Path] = {}

    def export(target: str) -> Path:
        if target not in made:
            profile = load_profile(write_profile(folder, target, targets=target))
            made[target] = export_bundle(package, profile, target, folder).path
        return made[target]

    return export
