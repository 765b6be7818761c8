"""What Google's tools read off a TFLite artifact, read back by the schema's slots.

The expected text is what the metadata displayer of tflite-support 0.4.4 printed of such an artifact. MediaPipe 1.2.3's
ImageEmbedder opened it and gave the network's embedding within 6e-8; without the card it refused the file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types, table

# MediaPipe's metadata_schema.fbs: table -> slot -> (name, kind). A list is a vector; a union's tables go by its number.
SCHEMA = {
    "ModelMetadata": {
        0: ("name", "string"),
        1: ("description", "string"),
        2: ("version", "string"),
        3: ("subgraph_metadata", ["SubGraphMetadata"]),
        4: ("author", "string"),
        7: ("min_parser_version", "string"),
    },
    "SubGraphMetadata": {2: ("inputs", ["TensorMetadata"]), 3: ("outputs", ["TensorMetadata"])},
    "TensorMetadata": {
        0: ("name", "string"),
        1: ("description", "string"),
        3: ("content", "Content"),
        4: ("process_units", ["ProcessUnit"]),
    },
    "Content": {1: ("content_properties", {1: "FeatureProperties", 2: "ImageProperties"})},
    "ProcessUnit": {1: ("options", {1: "NormalizationOptions"})},
    "FeatureProperties": {},
    "ImageProperties": {0: ("color_space", number_types.Uint8Flags), 1: ("default_size", "ImageSize")},
    "ImageSize": {0: ("width", number_types.Uint32Flags), 1: ("height", number_types.Uint32Flags)},
    "NormalizationOptions": {
        0: ("mean", [number_types.Float32Flags]),
        1: ("std", [number_types.Float32Flags]),
    },
}


def read(content: bytes, at: int, kind: str) -> dict:
    """A table as a dict; a union is {name of its table: its fields}."""
    here, found = table.Table(content, at), {}
    for slot, (name, field) in SCHEMA[kind].items():
        start = here.Offset(4 + 2 * slot)
        if not start:
            continue
        if isinstance(field, dict):
            number = here.Get(number_types.Uint8Flags, at + here.Offset(4 + 2 * (slot - 1)))
            place = here.Indirect(at + start)
            found[name] = {field[number]: read(content, place, field[number])}
        elif isinstance(field, list):
            first, (element,) = here.Vector(start), field
            places = [first + 4 * index for index in range(here.VectorLen(start))]
            found[name] = [
                read(content, here.Indirect(place), element)
                if isinstance(element, str)
                else here.Get(element, place)
                for place in places
            ]
        elif field == "string":
            found[name] = here.String(at + start).decode()
        elif isinstance(field, str):
            found[name] = read(content, here.Indirect(at + start), field)
        else:
            found[name] = here.Get(field, at + start)
    return found


def card(artifact: Path) -> bytes:
    model = schema.Model.GetRootAs(artifact.read_bytes(), 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_googles_tools_find_a_picture_and_an_embedding(converted, precision) -> None:
    content = card(converted("tflite", precision).path)
    assert content[4:8] == b"M001"
    root = int.from_bytes(content[:4], "little")
    assert read(content, root, "ModelMetadata") == {
        "name": "prunnet query encoder små-nät",
        "description": "Picture to embedding. Embeddings meet only those of the same space: see the metadata entry "
        "`prunnet`.",
        "version": "0.1.0",
        "author": "prunnet",
        "min_parser_version": "1.0.0",
        "subgraph_metadata": [
            {
                "inputs": [
                    {
                        "name": "image",
                        "description": "RGB picture. Values 0..255 go in as they are; their normalisation is part of "
                        "the model.",
                        "content": {
                            "content_properties": {
                                "ImageProperties": {
                                    "color_space": 1,
                                    "default_size": {"width": 32, "height": 32},
                                }
                            }
                        },
                        "process_units": [
                            {"options": {"NormalizationOptions": {"mean": [0.0], "std": [1.0]}}}
                        ],
                    }
                ],
                "outputs": [
                    {
                        "name": "embedding",
                        "description": "Embedding of length 1, 24 values.",
                        "content": {"content_properties": {"FeatureProperties": {}}},
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_tensors_signature_and_manifest_agree_on_the_names(converted, precision) -> None:
    from ai_edge_litert.interpreter import Interpreter

    artifact = converted("tflite", precision)
    interpreter = Interpreter(model_path=str(artifact.path))
    names = {"inputs": [artifact.input.name], "outputs": [artifact.output.name]}
    assert interpreter.get_signature_list() == {"serving_default": names}
    assert [details["name"] for details in interpreter.get_input_details()] == names["inputs"] == ["image"]
    assert (
        [details["name"] for details in interpreter.get_output_details()] == names["outputs"] == ["embedding"]
    )
