"""What examples/android says of an artifact, against the artifacts that we export. No Kotlin compiler is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from runtime_py.bundle.probes import Probes
from tests.examples.conftest import ROOT
from tests.examples.sources import at, expression, only
from tests.exporters.plain import RUNTIMES

HERE = ROOT / "examples" / "android"
TYPES = {"text": str, "number": int, "real": float, "flag": bool, "list": list}


@pytest.fixture(params=["tflite", "executorch"])
def bundle(request, exported) -> Path:
    return exported(request.param)


def manifest_of(bundle: Path) -> dict:
    return json.loads((bundle / "manifest.json").read_text())


def test_every_key_that_the_app_reads_is_in_the_manifest(bundle) -> None:
    read = re.findall(r'\b(text|number|real|flag|list)\("([\w.]+)"\)', (HERE / "Bundle.kt").read_text())
    assert len(read) > 10
    for kind, path in read:
        assert isinstance(at(manifest_of(bundle), path), TYPES[kind]), path
    assert manifest_of(bundle)["files"][manifest_of(bundle)["artifact"]]


def test_what_the_app_demands_is_what_we_export(bundle) -> None:
    manifest, source = manifest_of(bundle), HERE / "Bundle.kt"
    dtype, low, high = only(
        r'"input\.dtype"\) == "(\w+)" && list\("input\.value_range"\) == listOf\((\d+), (\d+)\)', source
    )
    assert (manifest["input"]["dtype"], manifest["input"]["value_range"]) == (dtype, [int(low), int(high)])
    assert manifest["input"]["layout"] in only(r'layout == "(\w+)" \|\| layout == "(\w+)"', source)
    assert manifest["preprocessing"]["color"] == only(r'"preprocessing\.color"\) == "(\w+)"', source)[0]
    targets = re.findall(r'"(\w+)" -> \w+Encoder\(bundle\)', (HERE / "QueryEncoder.kt").read_text())
    assert manifest["target"] in targets


def test_the_signature_is_the_artifacts(exported) -> None:
    from ai_edge_litert.interpreter import Interpreter

    bundle = exported("tflite")
    manifest = manifest_of(bundle)
    (signature,) = only(r'const val SIGNATURE = "(\w+)"', HERE / "QueryEncoder.kt")
    names = {"inputs": [manifest["input"]["name"]], "outputs": [manifest["output"]["name"]]}
    found = Interpreter(model_path=str(bundle / manifest["artifact"])).get_signature_list()
    assert found == {signature: names}


@pytest.mark.parametrize("target", ["tflite", "executorch"])
def test_the_apps_order_of_pixels_gives_the_encoders_embeddings(exported, target) -> None:
    """The index and the channel are computed by the Kotlin source's own expressions."""
    bundle = exported(target)
    manifest, probes = manifest_of(bundle), Probes.load(bundle / "probes.npz")
    source = HERE / "Pixels.kt"
    (interleaved,) = only(r'val interleaved = layout == "(\w+)"', source)
    level, first = (
        expression(*only(r"val level = (.+)$", source)),
        expression(*only(r"rgb\[(.+)\] = level", source)),
    )
    either = only(r"val index = if \(interleaved\) (.+) else (.+)$", source)
    index = expression(either[manifest["input"]["layout"] != interleaved])
    assert only(r"values\[index\] = \(rgb\[(.+)\]\.toInt\(\) and 0xFF\)\.toFloat\(\)", source) == only(
        r"rgb\[(.+)\] = level", source
    )

    images = []
    for picture in probes.images[:6].astype(int):
        argb = (255 << 24 | picture[..., 0] << 16 | picture[..., 1] << 8 | picture[..., 2]).ravel()
        rgb, values, place = np.full(3 * argb.size, -1), np.full(3 * argb.size, -1), np.arange(argb.size)
        for channel in range(3):
            rgb[first(place=place, channel=channel)] = level(pixel=argb, channel=channel)
            where = index(place=place, channel=channel, pixels=argb.size)
            values[where] = rgb[first(place=place, channel=channel)]
        tensor = values.reshape(manifest["input"]["shape"])[0]
        images.append(tensor if manifest["input"]["layout"] == "NHWC" else tensor.transpose(1, 2, 0))
    found, _ = RUNTIMES[target](bundle / manifest["artifact"], np.stack(images).astype(np.uint8))
    np.testing.assert_allclose(found, probes.subnetwork[:6], atol=1e-5)
    swapped, _ = RUNTIMES[target](bundle / manifest["artifact"], probes.images[:6, :, :, ::-1])
    assert np.abs(swapped - probes.subnetwork[:6]).max() > 1e-3, "swapped channels would not be seen"


def test_the_program_has_the_methods_that_the_app_calls(exported) -> None:
    from executorch.runtime import Runtime

    bundle = exported("executorch")
    manifest = manifest_of(bundle)
    program = Runtime.get().load_program(bundle / manifest["artifact"])
    (method,) = only(r'module\.execute\("(\w+)"\)\[0\]\.toStr\(\)', HERE / "QueryEncoder.kt")
    assert program.load_method(method).execute([]) == [manifest["space_id"]]
    assert tuple(program.metadata("forward").input_tensor_meta(0).sizes()) == tuple(
        manifest["input"]["shape"]
    )
