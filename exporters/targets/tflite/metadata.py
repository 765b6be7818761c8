"""One metadata entry in a `.tflite` flatbuffer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

METADATA_NAME = "prunnet"
"""Name of the entry; its buffer holds UTF-8 JSON of the identity."""

FILE_IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""The schema demands it of every buffer (`force_align: 16`); kernels rely on it."""


def with_metadata(model: bytes, identity: dict[str, str]) -> bytes:
    """Return the model with its identity in the metadata entry `METADATA_NAME`.

    Args:
        model: A `.tflite` file below 2 GB. Buffers that some writers put behind the flatbuffer come inside.
        identity: What to write; an older entry of the same name is replaced.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
        """A buffer packed at the schema's alignment, which the generated Python code does not honour."""

        def Pack(self, builder: Any) -> Any:  # noqa: N802 - overrides generated code
            raw = b"" if self.data is None else np.asarray(self.data, np.uint8).tobytes()
            if raw:
                builder.StartVector(1, len(raw), ALIGNMENT)
                builder.head -= len(raw)
                builder.Bytes[builder.head : builder.head + len(raw)] = raw
                data = builder.EndVector()
            schema.BufferStart(builder)
            if raw:
                schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    contents = [_content(buffer, model) for buffer in root.buffers]
    entries = [entry for entry in root.metadata or [] if _text(entry.name) != METADATA_NAME]
    text = np.frombuffer(json.dumps(identity).encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(root.buffers)
    root.metadata = [*entries, entry]
    root.buffers = [AlignedBuffer(data) for data in (*contents, text)]
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(root.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _content(buffer: Any, model: bytes) -> Any:
    """Return the bytes of a buffer, which lie in the flatbuffer or, by offset and size, behind it."""
    if buffer.offset > 1:
        return np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
    return buffer.data


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
