"""The flatbuffer after it was written anew: same weights, aligned buffers, one entry."""

import json

import numpy as np
import pytest

from exporters.tflite_metadata import with_metadata
from tests.exporters.nets import glyph_images
from tests.exporters.plain import run_tflite


@pytest.fixture(scope="module")
def model(converted) -> bytes:
    return converted("tflite", "fp32").path.read_bytes()


def buffers(model: bytes) -> list[tuple[int, bytes]]:
    """(offset in the file, content) of every buffer that has one."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    found = []
    for index in range(root.BuffersLength()):
        data = root.Buffers(index)
        if data.DataLength():
            content = data.DataAsNumpy().tobytes()
            start = data._tab.Vector(data._tab.Offset(4))
            assert model[start : start + len(content)] == content
            found.append((start, content))
    return found


def test_every_buffer_is_aligned_as_the_schema_demands(model) -> None:
    assert len(buffers(model)) > 5
    assert [start % 16 for start, _ in buffers(model)] == [0] * len(buffers(model))


def test_writing_again_replaces_the_entry_and_keeps_the_rest(model, tmp_path) -> None:
    again = tmp_path / "again.tflite"
    again.write_bytes(with_metadata(model, {"prunnet.name": "other"}))
    embeddings, identity = run_tflite(again, glyph_images(2))
    assert identity == {"prunnet.name": "other"}
    first = tmp_path / "first.tflite"
    first.write_bytes(model)
    np.testing.assert_array_equal(embeddings, run_tflite(first, glyph_images(2))[0])


def test_the_entry_is_utf8_json(model) -> None:
    contents = [content for _, content in buffers(model) if content.startswith(b"{")]
    assert json.loads(contents[-1])["prunnet.name"] == "små-nät"
