"""Malformed packages: the error names the file and what is wrong with it."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime_py.errors import BundleError, UnsupportedProgramError
from runtime_py.mil_executor.executor import Executor
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import read_program

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def edit(path: Path, offset: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(bytes(data))


def rewrite_model(copied: Path, change: Callable[[object], None]) -> None:
    package = Package(copied)
    change(package.model)
    package.model_path.write_bytes(package.model.SerializeToString())


def block(model):
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def named(path: object) -> str:
    """A manifest whose root model lies at `path`."""
    return json.dumps({"rootModelIdentifier": "x", "itemInfoEntries": {"x": {"path": path}}})


def refused(copied: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        Executor(Package(copied))
    return caught.value


def test_a_sound_package_is_read(copied: Path) -> None:
    package = Package(copied)
    program = read_program(package)
    assert package.image_inputs == {"image": "RGB"}
    assert list(program.inputs) == ["image"] and program.outputs == ("embedding",)
    assert {"conv", "linear"} <= program.kinds
    assert package.metadata["prunnet.name"] == "små-nät"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "does not name the root model"),
        ('{"rootModelIdentifier": "x", "itemInfoEntries": {}}', "missing 'x'"),
        (named(3), "not a path"),
        (named("../../m"), "outside the package"),
        (named("/etc/passwd"), "outside the package"),
    ],
)
def test_a_bad_manifest_is_named(copied: Path, content: str | None, problem: str) -> None:
    file = copied / "Manifest.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    error = refused(copied)
    assert error.file == file and problem in str(error)


def test_a_missing_or_foreign_model_is_named(copied: Path) -> None:
    content = (copied / MODEL).read_bytes()
    (copied / MODEL).write_bytes(content[: len(content) // 2])
    assert refused(copied).file == copied / MODEL
    (copied / MODEL).write_bytes(b"")
    assert "not an ML Program" in str(refused(copied))
    (copied / MODEL).unlink()
    assert "is missing" in str(refused(copied))


@pytest.mark.parametrize(
    ("offset", "content", "problem"),
    [
        (4, struct.pack("<I", 1), "version 1"),
        (64, struct.pack("<I", 0), "does not begin with the mark"),
        (68, struct.pack("<I", 1), "holds fp16, the program expects fp32"),
        (68, struct.pack("<I", 99), "unknown (99)"),
        (72, struct.pack("<Q", 12), "has 12 bytes, a tensor fp32"),
        (72, struct.pack("<Q", 2**40), "beyond the end"),
        (80, struct.pack("<Q", 2**40), "beyond the end"),
    ],
)
def test_a_bad_weight_record_is_named(copied: Path, offset: int, content: bytes, problem: str) -> None:
    edit(copied / WEIGHTS, offset, content)
    error = refused(copied)
    assert error.file == copied / WEIGHTS and problem in str(error)


@pytest.mark.parametrize("size", [0, 10, 64, 200])
def test_a_cut_weight_file_is_named(copied: Path, size: int) -> None:
    (copied / WEIGHTS).write_bytes((copied / WEIGHTS).read_bytes()[:size])
    assert refused(copied).file == copied / WEIGHTS


def test_missing_weights_and_weights_elsewhere_are_refused(copied: Path) -> None:
    (copied / WEIGHTS).unlink()
    assert refused(copied).file == copied / WEIGHTS

    def leave(model) -> None:
        for operation in block(model).operations:
            if operation.type == "const" and operation.attributes["val"].HasField("blobFileValue"):
                operation.attributes["val"].blobFileValue.fileName = "@model_path/../../../../etc/passwd"

    rewrite_model(copied, leave)
    assert "outside the package" in str(refused(copied))


def test_unknown_operations_are_all_named_with_the_known_ones(copied: Path) -> None:
    def rename(model) -> None:
        for operation in block(model).operations:
            if operation.type in ("linear", "conv"):
                operation.type = f"quantum_{operation.type}"

    rewrite_model(copied, rename)
    with pytest.raises(UnsupportedProgramError) as caught:
        Executor(Package(copied))
    assert caught.value.operations == ["quantum_conv", "quantum_linear"]
    assert "relu" in str(caught.value) and caught.value.exit_code == 2


def damage_operand(model) -> None:
    convolution = next(o for o in block(model).operations if o.type == "conv")
    convolution.inputs["x"].arguments[0].name = "nobody"


def damage_output(model) -> None:
    block(model).outputs[0] = "nothing"


def damage_twice(model) -> None:
    operations = block(model).operations
    operations.append(operations[-1])


def damage_opset(model) -> None:
    model.mlProgram.functions["main"].opset = "CoreML99"


def damage_function(model) -> None:
    model.description.defaultFunctionName = "other"


def damage_type(model) -> None:
    next(o for o in block(model).operations if o.type == "conv").outputs[0].type.tensorType.dataType = 77


def damage_results(model) -> None:
    del next(o for o in block(model).operations if o.type == "const").outputs[:]


def damage_control_flow(model) -> None:
    block(model).operations[-1].blocks.add()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_operand, "takes 'nobody' as 'x'"),
        (damage_output, "returns 'nothing'"),
        (damage_twice, "twice"),
        (damage_opset, "CoreML99"),
        (damage_function, "no function 'other'; it has main"),
        (damage_type, "unknown data type 77"),
        (damage_results, "without a result"),
        (damage_control_flow, "control flow"),
    ],
)
def test_an_unsound_program_is_refused(copied: Path, damage: Callable, problem: str) -> None:
    rewrite_model(copied, damage)
    error = refused(copied)
    assert error.file == copied / MODEL and problem in str(error)


def test_reading_imports_neither_coremltools_nor_torch(copied: Path) -> None:
    code = (
        "import json, sys, pathlib; from runtime_py.mil_executor.package import Package; "
        "from runtime_py.mil_executor.program import read_program; "
        f"read_program(Package(pathlib.Path({str(copied)!r}))); "
        "print(json.dumps([n for n in ('coremltools', 'torch', 'tensorflow') if n in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(found.stdout) == []


@pytest.mark.slow
def test_coremltools_itself_can_be_imported_after_its_messages(copied: Path) -> None:
    code = (
        "import pathlib; from runtime_py.mil_executor.package import Package; "
        f"path = pathlib.Path({str(copied)!r}); ours = Package(path).model; "
        "from exporters.targets.mlprogram.coremltools_import import coremltools; ct = coremltools(); "
        "import sys; assert 'tensorflow' not in sys.modules; "
        "theirs = ct.models.MLModel(str(path), skip_model_load=True).get_spec(); assert ours == theirs"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
