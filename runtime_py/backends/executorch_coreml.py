"""ExecuTorch programs that Core ML runs: by ExecuTorch's runtime on macOS, executed elsewhere."""

from __future__ import annotations

import json
import platform
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import InputBuffer, machine, stack
from runtime_py.backends.coreml_weights import read_weights
from runtime_py.backends.delegated import METADATA, PACKAGE, delegated, write_pieces
from runtime_py.backends.executorch import ExecuTorchBackend, ProgramFile
from runtime_py.backends.weights import Stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.errors import BundleError, UnsupportedProgramError
from runtime_py.mil_executor.executor import Executor
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import read_program


class ExecuTorchCoreMLBackend:
    """One ExecuTorch program, all of which is inside of one Core ML delegate.

    Args:
        artifact: The `.pte` file.
        input_info: NCHW pixels as float32.
        output_info: The embedding, [1, D].

    Raises:
        BundleError: The file is no such program, or the delegate's tensors are not those that are stated.
        UnsupportedProgramError: Off macOS, it uses operations that the executor does not know.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._artifact, self._input, self._output = artifact, input_info, output_info
        files = delegated(artifact)
        # Everything is read now: of the folder nothing is needed afterwards.
        with tempfile.TemporaryDirectory(prefix="prunnet-", ignore_cleanup_errors=True) as folder:
            write_pieces(files, Path(folder))
            try:
                package = Package(Path(folder) / PACKAGE)
                self._weights = read_weights(read_program(package))
                self._executor = None if platform.system() == "Darwin" else Executor(package, "declared")
            except UnsupportedProgramError as error:
                raise UnsupportedProgramError(artifact, error.operations, error.known) from error
            except BundleError as error:
                problem = f"in its Core ML delegate, {error.file.name}: {error.problem}"
                raise BundleError(artifact, problem, error.remedy) from error
        self._native = (
            ExecuTorchBackend(artifact, input_info, output_info) if self._executor is None else None
        )
        self._file = ProgramFile(artifact, input_info, output_info)
        self._buffer = InputBuffer(input_info)
        self._names = self._stated(files.get(METADATA, b""))

    def _stated(self, text: bytes) -> tuple[str, str]:
        """Return the names of the package's input and output; the delegate hands tensors over by them."""
        try:
            names = json.loads(text)
            (taken,), (given,) = names["inputNames"], names["outputNames"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(
                self._artifact, f"its delegate does not name one input and one output ({error})"
            ) from error
        if self._executor is not None:
            shapes = {name: declared.shape for name, declared in self._executor.inputs.items()}
            if shapes != {taken: self._input.shape} or self._executor.outputs != (given,):
                raise BundleError(
                    self._artifact,
                    f"its Core ML program takes {shapes} and returns {list(self._executor.outputs)}, not {taken!r} of "
                    f"{list(self._input.shape)} and {given!r}",
                )
        return taken, given

    @property
    def runtime(self) -> str:
        """The runtime, its version and the machine."""
        if self._native is not None:
            return f"{self._native.runtime}, Core ML of macOS {platform.mac_ver()[0]}"
        return (
            f"MIL executor (declared) with torch {metadata.version('torch')} on {machine()}; it proves what the "
            "delegate's program says, not what the Neural Engine computes"
        )

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        if self._executor is None:
            assert self._native is not None
            return self._native.run(images)
        taken, given = self._names
        rows = [self._executor.run({taken: self._buffer.fill(image)})[given] for image in images]
        return stack([np.asarray(row, np.float32) for row in rows], self._output)

    def weights(self) -> list[Stored]:
        """Read the constants of the delegate's program."""
        return self._weights

    def identity(self) -> Identity:
        """Read the identity from the program's constant method."""
        return self._file.identity()
