"""ExecuTorch with the Core ML delegate: what the parity template does not ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.errors import ExportError
from exporters.targets.executorch_coreml.exporter import ExecuTorchCoreMLExporter
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact
from runtime_py.backends import Backend, open_backend
from runtime_py.backends.delegated import METADATA, PACKAGE, delegated, flattened, pieces, write_pieces
from runtime_py.errors import BundleError
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import read_program
from tests.exporters.nets import SmallEncoder, glyph_images, spec

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


def test_both_ends_of_fp16_are_in_fp32(converted: Callable[[str, str], Artifact], tmp_path: Path) -> None:
    """With ExecuTorch's own option of fp16 all of them would be in fp16, where a device's sum of squares overflows."""
    write_pieces(delegated(converted(TARGET, "fp16").path), tmp_path)
    operations = read_program(Package(tmp_path / PACKAGE)).operations
    kinds = [operation.kind for operation in operations]
    types = [{each.dtype for each in operation.outputs.values()} for operation in operations]
    first, last = kinds.index("conv"), kinds.index("linear")
    normalised = kinds.index("reduce_l2_norm")
    assert normalised > last
    assert (
        types[kinds.index("sub")]
        == types[normalised]
        == types[kinds.index("real_div", normalised)]
        == {"fp32"}
    )
    assert types[first] == types[last] == {"fp16"}


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


@pytest.fixture
def changed(converted: Callable[[str, str], Artifact], tmp_path: Path) -> Callable[..., Artifact]:
    """Return what makes another artifact: its program, or the files of its delegate, changed by the caller."""
    from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary, serialize_pte_binary

    def change(program=lambda program: None, files=lambda files: None) -> Artifact:
        artifact = converted(TARGET, "fp32")
        found = deserialize_pte_binary(artifact.path.read_bytes()).program
        inside = pieces(bytes(found.backend_delegate_data[0].data))
        files(inside)
        found.backend_delegate_data[0].data = flattened(inside)
        program(found)
        path = tmp_path / "changed.pte"
        path.write_bytes(bytes(serialize_pte_binary(PTEFile(program=found))))
        return replace(artifact, path=path)

    return change


def opened(artifact: Artifact) -> Backend:
    return open_backend(TARGET, artifact.path, artifact.input, artifact.output)


def test_what_is_changed_by_nothing_still_opens(changed) -> None:
    assert opened(changed()).run(glyph_images(2)).shape == (2, spec().identity.dimension)


def test_names_that_the_package_does_not_have_are_refused(changed) -> None:
    def rename(files: dict[str, bytes]) -> None:
        files[METADATA] = files[METADATA].replace(b'"inputNames": ["', b'"inputNames": ["x')

    with pytest.raises(
        BundleError, match=r"changed.pte: its Core ML package has the inputs \['image'\], not 'ximage'"
    ):
        opened(changed(files=rename))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"inputNames": [["a"]], "outputNames": ["b"], "identifier": "c"}']
)
def test_metadata_that_names_nothing_is_refused(changed, text: bytes) -> None:
    with pytest.raises(BundleError, match="does not name one input and one output"):
        opened(changed(files=lambda files: files.update({METADATA: text})))


def test_a_damaged_package_is_named_by_the_artifact(changed) -> None:
    def cut(files: dict[str, bytes]) -> None:
        (weights,) = (name for name in files if name.endswith("weight.bin"))
        files[weights] = files[weights][:100]

    with pytest.raises(BundleError, match=r"changed.pte: in its Core ML delegate, "):
        opened(changed(files=cut))


def test_a_program_without_forward_or_with_other_arguments_is_refused(changed) -> None:
    def rename(program) -> None:
        (forward,) = (plan for plan in program.execution_plan if plan.name == "forward")
        forward.name = "backward"

    def turn(program) -> None:
        (forward,) = (plan for plan in program.execution_plan if plan.name == "forward")
        forward.chains[0].instructions[0].instr_args.args.reverse()

    with pytest.raises(BundleError, match="has no method 'forward'"):
        opened(changed(rename))
    with pytest.raises(BundleError, match="does not take the program's input and give its output"):
        opened(changed(turn))


def flat(nodes: list[dict[str, object]], files: bytes = b"") -> bytes:
    return files + json.dumps({"nodes": nodes}).encode()[::-1]


FOLDER: dict[str, object] = {"name": "f", "kind": 1, "dataRegion": {"offset": 0, "size": 0}}
FILE = {"name": "x", "kind": 0, "children": {}, "dataRegion": {"offset": 0, "size": 3}}


def test_a_folder_is_read_back_whatever_the_order_of_its_files() -> None:
    inner = {**FOLDER, "children": {"x": 0}}
    assert pieces(flat([FILE, inner, {**FOLDER, "children": {"f": 1}}], b"xyz")) == {"f/x": b"xyz"}
    files = {"ä/b": b"1", "ä/c/d": b"", "e": bytes(range(256))}
    assert pieces(flattened(files)) == files
    assert flattened(dict(reversed(files.items()))) == flattened(files)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (flat([FILE, {**FOLDER, "children": {"..": 0}}], b"xyz"), "names a file '..'"),
        (flat([FILE, {**FOLDER, "children": {"../x": 0}}], b"xyz"), "names a file '../x'"),
        (flat([FILE, {**FOLDER, "children": {"/etc/x": 0}}], b"xyz"), "names a file '/etc/x'"),
        (flat([FILE, {**FOLDER, "children": {"y": 0}}], b"xyz"), "names a file 'y' and 'x'"),
        (flat([{**FOLDER, "children": {"f": 0}}]), "in it twice"),
        (flat([{**FOLDER, "children": {"a": 7}}]), "not at all"),
        (flat([{**FOLDER, "children": {"a": -1}}]), "greater than or equal to 0"),
        (flat([{**FILE, "dataRegion": {"offset": 0, "size": 10**9}}]), "larger than it is"),
        (flat([{**FILE, "dataRegion": {"offset": 10**9, "size": 3}}]), "outside of it"),
        (flat([{**FILE, "dataRegion": {"offset": -1, "size": 2}}]), "greater than or equal to 0"),
        (flat([FILE], b"xyz"), "outside of it"),
        (flat([{**FILE, "dataRegion": {"offset": float("inf"), "size": 2}}]), "nodes"),
        (flat([]), "at least 1 item"),
        (b"no index", "Expecting value"),
    ],
)
def test_a_folder_that_leads_elsewhere_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pieces(content)
