"""One artifact per target and precision for the whole session: converting is what takes the time."""

from collections.abc import Callable

import pytest

from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact
from tests.exporters.nets import SmallEncoder, spec


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Artifact]:
    """Convert the small encoder once for each (target, precision) that a test asks for."""
    made: dict[tuple[str, str], Artifact] = {}

    def convert(target: str, precision: str) -> Artifact:
        key = (target, precision)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{target}-{precision}")
            float_layers = ("down.0",) if precision == "mixed" else ()
            wanted = spec(precision=precision, float_layers=float_layers)
            made[key] = get_exporter(target).convert(SmallEncoder(), wanted, folder)
        return made[key]

    return convert
