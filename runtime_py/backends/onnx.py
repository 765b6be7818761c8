"""ONNX artifacts on ONNX Runtime's CPU kernels."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import InputBuffer, expect_dtype, expect_shape, identity_of, machine, stack
from runtime_py.backends.onnx_weights import read_weights
from runtime_py.backends.weights import Stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.disk.files import plain_name
from runtime_py.errors import BundleError

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_ERRORS_ONLY = 3
_EXACT = ("session.x64quantprecision", "1")
"""Lets ONNX Runtime add products of int8 in 32 bits on x86 without VNNI, where it would saturate at 16.

Measured with the built-in encoder in int8 on an emulated Haswell (ONNX Runtime 1.31): cosine down to 0.70 without it;
with it, bitwise what a processor with VNNI computes. Where there is VNNI it would double the latency.
"""


class OnnxBackend:
    """One ONNX model with one image input and one embedding output, of batch 1 or of any.

    Args:
        artifact: The `.onnx` file, with its weights inside.
        input_info: NCHW (or NHWC) pixels as float32, float16 or uint8; ONNX declares no scale for int8.
        output_info: The embedding, [1, D].

    Raises:
        BundleError: The file is no such model.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._artifact, self._input, self._output = artifact, input_info, output_info
        self._buffer = InputBuffer(input_info)
        self._session = open_session(artifact)
        for what, nodes, info in (
            ("input", self._session.get_inputs(), input_info),
            ("output", self._session.get_outputs(), output_info),
        ):
            if len(nodes) != 1:
                raise BundleError(artifact, f"has {len(nodes)} {what}s, not one")
            expect_shape(artifact, what, _for_one(nodes[0].shape), info)
            expect_dtype(artifact, what, _TYPES.get(nodes[0].type, nodes[0].type), info)
        self._feed = self._session.get_inputs()[0].name

    @property
    def runtime(self) -> str:
        """ONNX Runtime, its version and the machine."""
        return f"ONNX Runtime {onnxruntime.__version__} on {machine()}"

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3]; returns float32 [N, D].

        One image at a time, whatever batch the model takes: memory budgets are for one query.
        """
        rows = []
        for image in images:
            batch = self._buffer.fill(image)
            rows.append(np.asarray(self._session.run(None, {self._feed: batch})[0], np.float32))
        return stack(rows, self._output)

    def identity(self) -> Identity:
        """Read the identity from the model's `metadata_props`."""
        return identity_of(self._artifact, self._session.get_modelmeta().custom_metadata_map)

    def weights(self) -> list[Stored]:
        """Read the initializers off the file."""
        return read_weights(self._artifact)


def _for_one(shape: Sequence[int | str | None]) -> tuple[int | str | None, ...]:
    """Return a tensor's shape for one picture: a first dimension without a number takes any."""
    return (1, *shape[1:]) if shape and not isinstance(shape[0], int) else tuple(shape)


def open_session(model: Path) -> onnxruntime.InferenceSession:
    """Open any ONNX model on the CPU; raises BundleError with ONNX Runtime's own words if it cannot."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if lacks_vnni():
        options.add_session_config_entry(*_EXACT)
    try:
        with plain_name(model) as name:
            return onnxruntime.InferenceSession(str(name), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise BundleError(model, f"ONNX Runtime does not open it ({error})") from error


def lacks_vnni(architecture: str | None = None, cpuinfo: str | None = None) -> bool:
    """Tell whether this is an x86 processor without VNNI; one whose features cannot be read counts as such.

    Args:
        architecture: As `platform.machine` names it; None asks.
        cpuinfo: Text of /proc/cpuinfo; None reads it, where there is one.
    """
    if (architecture or platform.machine()).lower() not in ("x86_64", "amd64"):
        return False
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            return True
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "").split()
    return not {"avx512_vnni", "avx_vnni"} & set(flags)
