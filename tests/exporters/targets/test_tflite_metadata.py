"""The flatbuffer after it was written anew: same weights, aligned buffers, one entry."""

import json

import numpy as np
import pytest

from exporters.targets.tflite.metadata import with_metadata
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
    entries = {"prunnet": b'{"prunnet.name": "other"}'}
    again.write_bytes(with_metadata(model, entries, "image", "embedding"))
    embeddings, identity = run_tflite(again, glyph_images(2))
    assert identity == {"prunnet.name": "other"}
    first = tmp_path / "first.tflite"
    first.write_bytes(model)
    np.testing.assert_array_equal(embeddings, run_tflite(first, glyph_images(2))[0])


def test_the_entry_is_utf8_json(model) -> None:
    contents = [content for _, content in buffers(model) if content.startswith(b"{")]
    assert json.loads(contents[-1])["prunnet.name"] == "små-nät"


def test_weights_behind_the_flatbuffer_come_inside(model, tmp_path) -> None:
    """The int8 quantizer writes larger models so: each buffer an offset and a size, the bytes at the end."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    contents = [b"" if buffer.data is None else buffer.data.tobytes() for buffer in root.buffers]

    def packed(start: int) -> bytes:
        for buffer, content in zip(root.buffers, contents, strict=True):
            if content:
                buffer.data, buffer.offset, buffer.size = None, start, len(content)
                start += -(-len(content) // 16) * 16
        builder = flatbuffers.Builder(1024)
        builder.Finish(root.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    start = -(-len(packed(2)) // 16) * 16
    outside = packed(start).ljust(start, b"\0")
    outside += b"".join(content.ljust(-(-len(content) // 16) * 16, b"\0") for content in contents)
    inside = tmp_path / "inside.tflite"
    entries = {"prunnet": b'{"prunnet.name": "inlined"}'}
    inside.write_bytes(with_metadata(outside, entries, "image", "embedding"))
    first = tmp_path / "first.tflite"
    first.write_bytes(model)
    found, identity = run_tflite(inside, glyph_images(2))
    np.testing.assert_array_equal(found, run_tflite(first, glyph_images(2))[0])
    assert identity == {"prunnet.name": "inlined"}
    assert all(
        content in {kept for _, kept in buffers(inside.read_bytes())} for content in contents[1:-1] if content
    )
