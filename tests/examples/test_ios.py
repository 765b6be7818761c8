"""What examples/ios says of an artifact, against the Core ML package that we export. No Swift compiler is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime_py import load
from runtime_py.mil_executor.package import Package
from tests.examples.conftest import ROOT
from tests.examples.sources import expression, only

HERE = ROOT / "examples" / "ios"
TYPES = {"String": str, "Int": int, "Double": float, "Bool": bool, "UInt8": int}


@pytest.fixture(scope="module")
def bundle(exported) -> Path:
    return exported("coreml")


def decoded() -> dict[str, dict[str, str]]:
    """Each struct that Swift decodes from the manifest: JSON key -> Swift type."""
    source = (HERE / "EncoderBundle.swift").read_text()
    found = {}
    for name, body in re.findall(r"^struct (\w+): Decodable \{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL):
        fields = re.findall(r"^    let (\w+): (\S+)$", body, re.MULTILINE)
        assert len(fields) == body.count("let ")
        found[name] = {re.sub("([A-Z])", r"_\1", field).lower(): kind for field, kind in fields}
    return found


def expect(value: Any, kind: str, structs: dict[str, dict[str, str]]) -> None:
    """Fail unless Swift could decode the value as this type."""
    if kind.startswith("["):
        assert isinstance(value, list)
        for each in value:
            expect(each, kind.strip("[]"), structs)
    elif kind in structs:
        for key, inner in structs[kind].items():
            if key in value or not inner.endswith("?"):
                expect(value[key], inner.removesuffix("?"), structs)
    else:
        assert type(value) is TYPES[kind], (value, kind)
        assert kind != "UInt8" or 0 <= value <= 255


def test_swift_can_decode_the_manifest(bundle) -> None:
    structs = decoded()
    assert set(structs) == {"Version", "Manifest", "Tensor", "Preprocessing", "Resizing"}
    for read in ("Version", "Manifest"):
        manifest = json.loads((bundle / "manifest.json").read_text())
        expect(manifest, read, structs)
        expect({**manifest, "resize_inside": True}, read, structs)


def test_names_shapes_and_colours_are_the_artifacts(bundle) -> None:
    from coremltools.proto import FeatureTypes_pb2 as features

    manifest = load(bundle).manifest
    about = Package(bundle / manifest.artifact).model.description
    (taken,), (given,) = about.input, about.output
    assert (taken.name, given.name) == (manifest.input.name, manifest.output.name)
    image = taken.type.imageType
    assert image.colorSpace == features.ImageFeatureType.RGB
    assert (image.height, image.width) == manifest.input.image_size == manifest.preprocessing.size
    assert tuple(given.type.multiArrayType.shape) == manifest.output.shape
    source = HERE / "EncoderBundle.swift"
    wanted = only(r'target == "(\w+)", manifest\.input\.layout == "(\w+)", .*color == "(\w+)"', source)
    assert wanted == (manifest.target, manifest.input.layout, manifest.preprocessing.color)
    (key,) = only(r'stated\["([\w.]+)"\] == bundle\.manifest\.spaceId', HERE / "QueryEncoder.swift")
    assert about.metadata.userDefined[key] == manifest.space_id


def test_the_apps_order_of_bytes_is_bgra(bundle) -> None:
    """32BGRA is what Core ML converts to the RGB of the model; the indices are the Swift source's own."""
    source = HERE / "Pixels.swift"
    into, out_of = map(expression, only(r"rgb\[(.+)\] = rgbx\[(.+)\]", source))
    after, before = map(expression, only(r"bgra\[(.+)\] = rgb\[(.+)\]", source))
    picture = load(bundle).probes.images[3]
    rgbx = np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)]).ravel()
    rgb, bgra = np.zeros(picture.size, np.uint8), np.full(rgbx.size, 255, np.uint8)
    place = np.arange(picture.size // 3)
    for channel in range(3):
        rgb[into(place=place, channel=channel)] = rgbx[out_of(place=place, channel=channel)]
        bgra[after(place=place, channel=channel)] = rgb[before(place=place, channel=channel)]
    np.testing.assert_array_equal(rgb, picture.ravel())
    np.testing.assert_array_equal(bgra.reshape(*picture.shape[:2], 4)[:, :, 2::-1], picture)
    assert (bgra[3::4] == 255).all()
    assert only(r"kCVPixelFormatType_(\w+)", HERE / "QueryEncoder.swift") == ("32BGRA",)
