"""What an ExecuTorch program says of itself through its constant methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporters.targets.spec import Artifact
from tests.exporters.nets import DIMENSION, SIDE, spec


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_app_can_ask_for_the_space_and_the_sizes(
    converted: Callable[[str, str], Artifact], precision: str
) -> None:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(converted("executorch", precision).path)
    wanted = {
        "get_space_id": spec().identity.space_id,
        "get_dimension": DIMENSION,
        "get_input_height": SIDE,
        "get_input_width": SIDE,
    }
    assert program.method_names == {"forward", "prunnet_identity", *wanted}
    for name, value in wanted.items():
        assert program.load_method(name).execute([]) == [value], name
