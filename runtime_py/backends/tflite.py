"""TFLite artifacts on LiteRT's interpreter."""

from __future__ import annotations

import json
import mmap
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import InputBuffer, expect_dtype, expect_shape, identity_of, machine, stack
from runtime_py.backends.weights import Stored, stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.disk.files import plain_name
from runtime_py.errors import BundleError
from runtime_py.noise import without_lines

_NOISE = (r"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.",)
METADATA_NAME = "prunnet"
"""Name of the metadata entry whose buffer holds the identity as UTF-8 JSON."""


class TFLiteBackend:
    """One TFLite model with one NHWC image input and one embedding output, float32 or quantised.

    Quantised tensors (int8, uint8) are fed and read through the scale and zero point that the model declares.

    Args:
        artifact: The `.tflite` file.
        input_info: NHWC pixels, batch 1.
        output_info: The embedding, [1, D].

    Raises:
        BundleError: The file is no such model.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._artifact, self._input, self._output = artifact, input_info, output_info
        self._buffer = InputBuffer(input_info, "float32")
        self._alone = threading.Lock()
        try:
            # From its path: LiteRT maps the file, so that its weights are not held twice.
            with plain_name(artifact) as name:
                self._interpreter = Interpreter(model_path=str(name))
            with without_lines(_NOISE):
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(artifact, f"LiteRT does not open it ({error})") from error
        self._identity = _read_identity(artifact)
        self._in = self._only("input", self._interpreter.get_input_details(), input_info)
        self._out = self._only("output", self._interpreter.get_output_details(), output_info)

    def _only(self, what: str, details: list[dict[str, Any]], info: TensorInfo) -> dict[str, Any]:
        if len(details) != 1:
            raise BundleError(self._artifact, f"has {len(details)} {what}s, not one")
        expect_shape(self._artifact, what, tuple(int(size) for size in details[0]["shape"]), info)
        expect_dtype(self._artifact, what, np.dtype(details[0]["dtype"]).name, info)
        if details[0]["dtype"] == np.int8 and details[0]["quantization"][0] <= 0:
            raise BundleError(self._artifact, f"its int8 {what} declares no scale")
        return details[0]

    @property
    def runtime(self) -> str:
        """LiteRT, its version and the machine."""
        return f"LiteRT {metadata.version('ai-edge-litert')} on {machine()}"

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        rows = []
        for image in images:
            fed = quantise(self._buffer.fill(image), self._in)
            # The interpreter is one set of tensors: between set and get nobody else may touch them.
            with self._alone:
                self._interpreter.set_tensor(self._in["index"], fed)
                self._interpreter.invoke()
                found = self._interpreter.get_tensor(self._out["index"])
            rows.append(dequantise(found, self._out))
        return stack(rows, self._output)

    def identity(self) -> Identity:
        """Read the identity from the metadata entry `METADATA_NAME`."""
        return identity_of(self._artifact, self._identity)

    def weights(self) -> list[Stored]:
        """Read the constant tensors off the flatbuffer."""
        with (
            self._artifact.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _constants(schema.Model.GetRootAs(content, 0))


def quantise(values: npt.NDArray[np.float32], details: dict[str, Any]) -> npt.NDArray[Any]:
    """Turn real values into what a tensor stores: round(value / scale) + zero point, saturated.

    Args:
        values: float32, any shape.
        details: LiteRT's details of the tensor; a scale of 0 means: not quantised.

    Returns:
        The same shape in the tensor's dtype.
    """
    scale, zero_point = details["quantization"]
    if scale == 0:
        return np.asarray(values, dtype=details["dtype"])
    limits = np.iinfo(details["dtype"])
    stored = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
    return np.asarray(stored, dtype=details["dtype"])


def dequantise(stored: npt.NDArray[Any], details: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Turn what a tensor stores into float32 real values: scale x (stored - zero point)."""
    scale, zero_point = details["quantization"]
    if scale == 0:
        return stored.astype(np.float32)
    return np.asarray(np.float32(scale) * (stored.astype(np.float32) - np.float32(zero_point)), np.float32)


def _read_identity(artifact: Path) -> dict[str, str]:
    """Parse the metadata entry; the flatbuffer was verified by LiteRT before. Empty if there is none."""
    with artifact.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        text = _metadata(content)
    if text is None:
        return {}
    try:
        return {str(key): str(value) for key, value in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise BundleError(artifact, f"its metadata entry {METADATA_NAME!r} is not a JSON object") from error


def _constants(model: Any) -> list[Stored]:
    types = {
        number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")
    }
    found = []
    for part in range(model.SubgraphsLength()):
        graph = model.Subgraphs(part)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            buffer = model.Buffers(tensor.Buffer())
            if buffer is not None and (buffer.DataLength() or buffer.Size()) and not tensor.ShapeIsNone():
                found += stored(types.get(tensor.Type(), ""), tensor.ShapeAsNumpy().tolist())
    return found


def _metadata(content: mmap.mmap) -> bytes | None:
    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == METADATA_NAME.encode():
            # LiteRT's check of the flatbuffer does not look at this number.
            if entry.Buffer() >= model.BuffersLength() or model.Buffers(entry.Buffer()).DataIsNone():
                return b""
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None
