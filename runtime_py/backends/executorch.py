"""ExecuTorch artifacts on ExecuTorch's own runtime.

Its Python binding needs torch, so this module does too (as Core ML's executor does, for its own reasons).
"""

from __future__ import annotations

import json
import threading
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import InputBuffer, expect_dtype, expect_shape, identity_of, machine, stack
from runtime_py.backends.weights import Stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.disk.files import plain_name
from runtime_py.errors import BundleError
from runtime_py.noise import without_lines

_NOISE = (
    r"Failed to load .*torchao/_C\w*\.\S*so: ",  # its kernels for GPUs that are not here
    r"W\d{4} .*_pytree\.py:\d+\] .* is an Enum subclass and is now natively supported by torch\.compile",
    r"\[cpuinfo_utils\.cpp:\d+\] ",  # how many threads it takes, looked for where only phones keep it
)
"""What ExecuTorch prints when it is imported, and when its first method is loaded."""

with without_lines(_NOISE):
    from executorch.runtime import Method, Program, Runtime, Verification

IDENTITY_METHOD = "prunnet_identity"
"""Constant method that returns the identity: 1-D uint8, the UTF-8 bytes of a JSON object."""

# ExecuTorch reports a tensor's type as the number of its ScalarType.
_TYPES = {0: "uint8", 1: "int8", 5: "float16", 6: "float32"}


class _InputTensor(InputBuffer):
    """The buffer with a tensor on the same memory, made once, since making one takes as long as filling it."""

    def __init__(self, info: TensorInfo) -> None:
        super().__init__(info)
        self.tensor = torch.from_numpy(self._batch)


class ProgramFile:
    """An opened `.pte`: its methods, and who it says that it is.

    Args:
        artifact: The `.pte` file.
        input_info: The one input of its method `forward`.
        output_info: Its one output.

    Raises:
        BundleError: The file is no such program.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._artifact = artifact
        try:
            with plain_name(artifact) as name:
                # ExecuTorch checks the program's structure first: of 60 damaged ones 10 killed the process without.
                self._program: Program = Runtime.get().load_program(
                    name, verification=Verification.InternalConsistency
                )
        except RuntimeError as error:
            raise BundleError(artifact, f"ExecuTorch does not open it ({error})") from error
        self._expect_method("forward")
        meta = self._program.metadata("forward")
        if (meta.num_inputs(), meta.num_outputs()) != (1, 1):
            raise BundleError(
                artifact, f"has {meta.num_inputs()} inputs and {meta.num_outputs()} outputs, not one"
            )
        for what, tensor, info in (
            ("input", meta.input_tensor_meta(0), input_info),
            ("output", meta.output_tensor_meta(0), output_info),
        ):
            expect_shape(artifact, what, tuple(tensor.sizes()), info)
            expect_dtype(artifact, what, _TYPES.get(tensor.dtype(), f"type {tensor.dtype()}"), info)

    def method(self, name: str) -> Method:
        """Load a method; BundleError if there is none, or if a delegate of it is not there."""
        self._expect_method(name)
        try:
            with without_lines(_NOISE):
                method = self._program.load_method(name)
        except RuntimeError as error:
            raise BundleError(
                self._artifact, f"ExecuTorch does not load its method {name!r} ({error})"
            ) from error
        if method is None:
            raise BundleError(self._artifact, f"ExecuTorch does not load its method {name!r}")
        return method

    def _expect_method(self, name: str) -> None:
        if name not in self._program.method_names:
            raise BundleError(self._artifact, f"has no method {name!r}")

    def identity(self) -> Identity:
        """Read the identity from the constant method `IDENTITY_METHOD`."""
        method = self.method(IDENTITY_METHOD)
        try:
            (card,) = method.execute([])
            entries = json.loads(bytes(card.numpy()))
            found = {str(key): str(value) for key, value in entries.items()}
        except (ValueError, AttributeError, TypeError, RuntimeError) as error:
            raise BundleError(
                self._artifact, f"its method {IDENTITY_METHOD!r} holds no JSON object"
            ) from error
        return identity_of(self._artifact, found)


class ExecuTorchBackend:
    """One ExecuTorch program whose method `forward` maps one image to one embedding.

    Args:
        artifact: The `.pte` file.
        input_info: NCHW (or NHWC) pixels as float32, float16 or uint8; a `.pte` declares no scale for int8.
        output_info: The embedding, [1, D].

    Raises:
        BundleError: The file is no such program.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._output = output_info
        self._buffer = _InputTensor(input_info)
        self._alone = threading.Lock()
        self._file = ProgramFile(artifact, input_info, output_info)
        self._forward = self._file.method("forward")

    @property
    def runtime(self) -> str:
        """ExecuTorch, its version and the machine."""
        return f"ExecuTorch {metadata.version('executorch')} on {machine()}"

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        rows = []
        for image in images:
            self._buffer.fill(image)
            # A method is one set of tensors, and the runtime may hand out the same memory again with the next
            # image: until the copy is made nobody else may execute.
            with self._alone:
                (embedding,) = self._forward.execute([self._buffer.tensor])
                rows.append(np.array(embedding.to(torch.float32).numpy(), copy=True))
        return stack(rows, self._output)

    def weights(self) -> list[Stored]:
        """Return none: they are packed inside of XNNPACK's part of the program."""
        return []

    def identity(self) -> Identity:
        """Read the identity from the constant method `IDENTITY_METHOD`."""
        return self._file.identity()
