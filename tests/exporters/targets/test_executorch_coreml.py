"""ExecuTorch with the Core ML delegate: what the parity template does not ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exporters.errors import ExportError
from exporters.targets.executorch_coreml.exporter import ExecuTorchCoreMLExporter
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact
from runtime_py.backends import open_backend
from runtime_py.backends.delegated import METADATA, PACKAGE, delegated, pieces
from runtime_py.errors import BundleError
from tests.exporters.nets import SmallEncoder, glyph_images, spec, torch_embeddings

TARGET = "executorch-coreml"


def test_the_delegates_own_function_unpacks_the_same_files(
    converted: Callable[[str, str], Artifact], tmp_path: Path
) -> None:
    from executorch.backends.apple.coreml import executorchcoreml
    from executorch.exir._serialize._program import deserialize_pte_binary

    artifact = converted(TARGET, "fp16").path
    (content,) = (
        each.data for each in deserialize_pte_binary(artifact.read_bytes()).program.backend_delegate_data
    )
    unpacked = tmp_path / "theirs" / "model"
    unpacked.parent.mkdir()
    assert executorchcoreml.unflatten_directory_contents(bytes(content), str(unpacked.parent))
    theirs = {
        each.relative_to(unpacked).as_posix(): each.read_bytes()
        for each in unpacked.rglob("*")
        if each.is_file()
    }
    assert theirs == delegated(artifact)
    assert {METADATA, f"{PACKAGE}/Manifest.json"} < set(theirs)
    assert "debug_info.json" not in theirs


def test_the_same_network_gives_the_same_bytes_and_another_one_another_identifier(tmp_path: Path) -> None:
    def made(seed: int, folder: str) -> Path:
        (tmp_path / folder).mkdir()
        module = SmallEncoder(seed)
        return get_exporter(TARGET).convert(module, spec(precision="fp16"), tmp_path / folder).path

    first, again, other = made(0, "a"), made(0, "b"), made(1, "c")
    assert first.read_bytes() == again.read_bytes()
    identifiers = [json.loads(delegated(path)[METADATA])["identifier"] for path in (first, other)]
    assert identifiers[0] != identifiers[1]


class Long(nn.Module):
    """An encoder whose embedding is a thousand long before it is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = SmallEncoder()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(1000 * self.inner(image), dim=1)


def test_the_length_of_an_embedding_does_not_leave_fp16(tmp_path: Path) -> None:
    """ExecuTorch's own option of fp16 rounds the sum of squares too: it overflows at 256 squared."""
    module, images = Long().eval(), glyph_images(4)
    artifact = get_exporter(TARGET).convert(module, spec(precision="fp16"), tmp_path)
    found = open_backend(TARGET, artifact.path, artifact.input, artifact.output).run(images)
    np.testing.assert_allclose(found, torch_embeddings(module, images), atol=1e-2)


def test_what_the_delegate_leaves_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing off macOS could run both halves, so nothing would have verified it."""
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    before = CoreMLPartitioner.__init__

    def without_relu(self, **options) -> None:
        before(self, skip_ops_for_coreml_delegation=["aten.relu.default"], **options)

    monkeypatch.setattr(CoreMLPartitioner, "__init__", without_relu)
    with pytest.raises(ExportError, match="leaves out aten_relu_default x2; take the target coreml"):
        ExecuTorchCoreMLExporter().convert(SmallEncoder(), spec(precision="fp16"), tmp_path)


def test_a_program_of_another_delegate_is_named(converted: Callable[[str, str], Artifact]) -> None:
    artifact = converted("executorch", "fp32")
    with pytest.raises(
        BundleError, match=r"its delegates are \['XnnpackBackend'.*\], not the one of Core ML"
    ):
        open_backend(TARGET, artifact.path, artifact.input, artifact.output)


def flat(nodes: list[dict[str, object]], files: bytes = b"") -> bytes:
    return files + json.dumps({"nodes": nodes}).encode()[::-1]


FOLDER: dict[str, object] = {"kind": 1, "dataRegion": {"offset": 0, "size": 0}}
FILE = {"kind": 0, "children": {}, "dataRegion": {"offset": 0, "size": 3}}


def test_a_folder_is_read_back() -> None:
    inner = {**FOLDER, "children": {"b": 0}}
    assert pieces(flat([FILE, inner, {**FOLDER, "children": {"a": 1}}], b"xyz")) == {"a/b": b"xyz"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (flat([FILE, {**FOLDER, "children": {"..": 0}}], b"xyz"), "names a file '..'"),
        (flat([FILE, {**FOLDER, "children": {"../x": 0}}], b"xyz"), "names a file '../x'"),
        (flat([FILE, {**FOLDER, "children": {"/etc/x": 0}}], b"xyz"), "names a file '/etc/x'"),
        (flat([{**FOLDER, "children": {"a": 0}}]), "in it twice"),
        (flat([{**FILE, "dataRegion": {"offset": 0, "size": 10**9}}]), "outside of it"),
        (flat([{**FILE, "dataRegion": {"offset": -1, "size": 2}}]), "outside of it"),
        (b"no index", "Expecting value"),
    ],
)
def test_a_folder_that_leads_elsewhere_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pieces(content)
