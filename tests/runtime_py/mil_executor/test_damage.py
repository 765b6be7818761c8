"""Random damage to a package: it is refused with a BundleError, or harmless; never any other exception."""

import platform
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime_py.backends.coreml import CoreMLBackend
from runtime_py.errors import BundleError
from runtime_py.mil_executor.package import Package
from tests.exporters.nets import glyph_images, spec

FILES = ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"]
IMAGES = glyph_images(1)
INPUT, OUTPUT = spec().pixels("image"), spec().embedding()
pytestmark = pytest.mark.skipif(platform.system() == "Darwin", reason="macOS predicts with Core ML itself")


def outcome(path: Path) -> str:
    try:
        CoreMLBackend(path, INPUT, OUTPUT).run(IMAGES)
    except BundleError as error:
        assert path in (error.file, *error.file.parents) and error.problem
        return "refused"
    return "harmless"


@pytest.mark.parametrize("file", FILES)
def test_damaged_bytes_are_refused_or_harmless(file: str, artifact, tmp_path_factory) -> None:
    whole = (artifact("fp32").path / file).read_bytes()
    seen: set[str] = set()
    copy = shutil.copytree(artifact("fp32").path, tmp_path_factory.mktemp("damage") / "x.mlpackage")

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8), st.booleans())
    def damage(at: int, content: bytes, cut: bool) -> None:
        damaged = whole[:at] if cut else whole[:at] + content + whole[at + len(content) :]
        (copy / file).write_bytes(damaged)
        seen.add(outcome(copy))

    damage()
    assert "refused" in seen


def places(message, found: list) -> list:
    """Every scalar of a protobuf message: (message, field, index or None)."""
    for field, value in message.ListFields():
        single = hasattr(value, "ListFields") or isinstance(value, str | bytes)
        repeated = hasattr(value, "__len__") and not single
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for part in value.values() if field.message_type.fields_by_name["value"].message_type else ():
                places(part, found)
        elif field.message_type is not None:
            for part in value if repeated else (value,):
                places(part, found)
        else:
            found.extend((message, field, i) for i in (range(len(value)) if repeated else (None,)))
    return found


def put(place, number: int) -> None:
    message, field, index = place
    old = getattr(message, field.name) if index is None else getattr(message, field.name)[index]
    new: object
    if isinstance(old, str):
        new = ["", "x", "conv", "image", old + "_"][number % 5]
    elif isinstance(old, bytes):
        new = [b"", b"\0", old[:-1], old + b"\1"][number % 4]
    elif isinstance(old, bool):
        new = not old
    elif isinstance(old, float):
        new = [0.0, -1.0, float("nan"), 1e30][number % 4]
    else:
        new = [0, 1, 2, 3, 7, 23, 1000, 2**31 - 1][number % 8]
    if index is None:
        setattr(message, field.name, new)
    else:
        getattr(message, field.name)[index] = new


def test_a_changed_field_is_refused_or_harmless(artifact, tmp_path: Path) -> None:
    copy = shutil.copytree(artifact("fp32").path, tmp_path / "x.mlpackage")
    model = Package(copy).model_path
    whole = model.read_bytes()
    count = len(places(Package(copy).model, []))
    seen: set[str] = set()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.integers(0, count - 1), st.integers(0, 39))
    def change(place: int, number: int) -> None:
        model.write_bytes(whole)
        message = Package(copy).model
        try:
            put(places(message, [])[place], number)
        except ValueError:
            return  # protobuf itself does not hold such a value
        model.write_bytes(message.SerializeToString())
        seen.add(outcome(copy))

    change()
    assert seen == {"refused", "harmless"}
