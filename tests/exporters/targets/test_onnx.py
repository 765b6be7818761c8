"""What is and is not inside an ONNX artifact."""

from __future__ import annotations

from pathlib import Path

import onnx

from exporters.targets.registry import get_exporter
from tests.exporters.nets import SmallEncoder, spec


def test_nothing_of_the_exporting_machine_is_inside(tmp_path: Path) -> None:
    content = get_exporter("onnx").convert(SmallEncoder(), spec(), tmp_path).path.read_bytes()
    for trace in (str(Path(__file__).parents[3]), str(Path.home()), "site-packages", ".py"):
        assert trace.encode() not in content
    model = onnx.load_from_string(content)
    assert {entry.key for entry in model.metadata_props} == set(spec().identity.entries())
    assert not any(node.metadata_props for node in model.graph.node)


def test_the_same_network_is_the_same_file(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(get_exporter("onnx").convert(SmallEncoder(), spec(), tmp_path / name).path.read_bytes())
    assert files[0] == files[1]
