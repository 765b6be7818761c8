"""Session fixtures: each artifact is converted once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime_py.bundle.probes import Probes
from runtime_py.bundle.write import write_bundle
from tests.runtime_py import bundles, tiny
from tests.runtime_py.artifacts import IDENTITY, SUFFIX, WRITERS


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """target -> a real artifact of the tiny encoder."""
    folder = tmp_path_factory.mktemp("artifacts")

    def make(target: str) -> Path:
        path = folder / f"encoder{SUFFIX[target]}"
        if not path.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the converters' own deprecations
                WRITERS[target](tiny.tiny_encoder(), path, IDENTITY)
        return path

    return make


@pytest.fixture(scope="session")
def probes() -> Probes:
    return bundles.probes()


@pytest.fixture
def make_bundle(artifact: Callable[[str], Path], probes: Probes, tmp_path: Path) -> Iterator[Callable]:
    """(target, **changes of the manifest) -> a fresh bundle in tmp_path."""

    def make(
        target: str = "onnx", *, out: str = "bundle", own_probes: Probes | None = None, **changes
    ) -> Path:
        its_probes = own_probes or probes
        if changes.get("schema_version", 4) < 4:
            its_probes = replace(its_probes, originals=None)
        draft = bundles.manifest(target, its_probes, **changes)
        return write_bundle(draft, artifact(target), its_probes, tmp_path / out)

    return make
