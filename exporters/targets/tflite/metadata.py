"""Metadata entries and names in a `.tflite` flatbuffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

IDENTITY_NAME = "prunnet"
"""Name of the metadata entry whose buffer holds the identity as UTF-8 JSON."""

FILE_IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""The schema demands it of every buffer (`force_align: 16`); kernels rely on it."""


def with_metadata(model: bytes, entries: Mapping[str, bytes], taken: str, given: str) -> bytes:
    """Return the model with metadata entries, and with names for its input and output.

    The tensors and the signature get the same names, so that an app and the manifest need one name for each.

    Args:
        model: A `.tflite` file below 2 GB with one input, one output and one signature. Buffers that some writers put
            behind the flatbuffer come inside.
        entries: Name -> content; an older entry of the same name is replaced.
        taken: Name of the input.
        given: Name of the output.
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
    root.metadata = [entry for entry in root.metadata or [] if _text(entry.name) not in entries]
    for name, content in entries.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(contents)
        root.metadata.append(entry)
        contents.append(np.frombuffer(content, np.uint8))
    root.buffers = [AlignedBuffer(data) for data in contents]
    _name(root, taken, given)
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(root.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _name(root: Any, taken: str, given: str) -> None:
    (signature,) = root.signatureDefs
    (graph_input,), (graph_output,) = signature.inputs, signature.outputs
    tensors = root.subgraphs[signature.subgraphIndex].tensors
    for end, name in ((graph_input, taken), (graph_output, given)):
        end.name = tensors[end.tensorIndex].name = name


def _content(buffer: Any, model: bytes) -> Any:
    """Return the bytes of a buffer, which lie in the flatbuffer or, by offset and size, behind it."""
    if buffer.offset > 1:
        return np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
    return buffer.data


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
