"""What Google's tools read off a `.tflite`: TFLite's ModelMetadata, a flatbuffer in a metadata entry of its own.

It says what the input is (an RGB picture, whose values go in as they are) and what the output is (an embedding).
MediaPipe's ImageEmbedder refuses a float32 model without it. The tables are those of MediaPipe's `metadata_schema.fbs`;
no package of the extra `tflite` has code for them, so the slots are numbered here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo

if TYPE_CHECKING:
    from flatbuffers import Builder

CARD_NAME = "TFLITE_METADATA"
"""Name of the metadata entry."""
FILE_IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
"""Of the parser of this metadata; everything written here is in its first version."""

# ContentProperties, ProcessUnitOptions and ColorSpaceType, by their numbers in the schema.
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_RGB = 1

Field = Callable[["Builder"], None]
"""Adds one field to the table that is being built."""


def model_card(identity: Identity, taken: TensorInfo, given: TensorInfo) -> bytes:
    """Return the ModelMetadata of an encoder.

    Args:
        identity: Name and version of the encoder.
        taken: Its input, NHWC pixels in 0..255.
        given: Its output.
    """
    import flatbuffers

    to = flatbuffers.Builder(1024)
    tensors = [
        _tensor(
            to,
            taken.name,
            "RGB picture. Values 0..255 go in as they are; their normalisation is part of the model.",
            _content(to, _IMAGE, _picture(to, *taken.image_size)),
            _normalization(to),
        ),
        _tensor(
            to,
            given.name,
            f"Embedding of length 1, {identity.dimension} values.",
            _content(to, _FEATURE, _table(to, 0, [])),
            None,
        ),
    ]
    inputs, outputs = (_vector(to, [tensor]) for tensor in tensors)
    graph = _table(to, 10, [_offset(2, inputs), _offset(3, outputs)])
    graphs = _vector(to, [graph])
    name, description, version, author, parser = (
        to.CreateString(text)
        for text in (
            f"prunnet query encoder {identity.name}",
            "Picture to embedding. Embeddings meet only those of the same space: see the metadata entry `prunnet`.",
            identity.version,
            "prunnet",
            MIN_PARSER_VERSION,
        )
    )
    model = [(0, name), (1, description), (2, version), (3, graphs), (4, author), (7, parser)]
    to.Finish(_table(to, 8, [_offset(slot, at) for slot, at in model]), FILE_IDENTIFIER)
    return bytes(to.Output())


def _tensor(to: Builder, name: str, description: str, content: int, unit: int | None) -> int:
    """Build a TensorMetadata; `unit` is what a caller does to the values before."""
    fields = [
        _offset(0, to.CreateString(name)),
        _offset(1, to.CreateString(description)),
        _offset(3, content),
    ]
    if unit is not None:
        fields.append(_offset(4, _vector(to, [unit])))
    return _table(to, 7, fields)


def _content(to: Builder, kind: int, properties: int) -> int:
    return _table(to, 3, [_byte(0, kind), _offset(1, properties)])


def _picture(to: Builder, height: int, width: int) -> int:
    size = _table(to, 2, [_uint(0, width), _uint(1, height)])
    return _table(to, 2, [_byte(0, _RGB), _offset(1, size)])


def _normalization(to: Builder) -> int:
    """Build the ProcessUnit (value - 0) / 1."""
    options = _table(to, 2, [_offset(0, _floats(to, [0.0])), _offset(1, _floats(to, [1.0]))])
    return _table(to, 2, [_byte(0, _NORMALIZATION), _offset(1, options)])


def _table(to: Builder, slots: int, fields: Sequence[Field]) -> int:
    to.StartObject(slots)
    for add in fields:
        add(to)
    return int(to.EndObject())


def _offset(slot: int, at: int) -> Field:
    return lambda to: to.PrependUOffsetTRelativeSlot(slot, at, 0)


def _byte(slot: int, value: int) -> Field:
    return lambda to: to.PrependUint8Slot(slot, value, 0)


def _uint(slot: int, value: int) -> Field:
    return lambda to: to.PrependUint32Slot(slot, value, 0)


def _vector(to: Builder, offsets: Sequence[int]) -> int:
    to.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        to.PrependUOffsetTRelative(offset)
    return int(to.EndVector())


def _floats(to: Builder, values: Sequence[float]) -> int:
    to.StartVector(4, len(values), 4)
    for value in reversed(values):
        to.PrependFloat32(value)
    return int(to.EndVector())
