"""ExecuTorch programs that Core ML runs: by ExecuTorch's runtime on macOS, executed elsewhere."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import InputBuffer, expect_shape, machine, stack
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
from runtime_py.record import Record


class _Names(Record):
    """What the delegate's metadata says; ExecuTorch hands tensors over by these names."""

    inputs: tuple[str] = Field(alias="inputNames")
    outputs: tuple[str] = Field(alias="outputNames")
    identifier: str


class ExecuTorchCoreMLBackend:
    """One ExecuTorch program, all of which is inside one Core ML delegate.

    Args:
        artifact: The `.pte` file.
        input_info: NCHW pixels as float32.
        output_info: The embedding, [1, D].

    Raises:
        BundleError: The file is no such program, or the delegate's tensors are not those that are stated.
        UnsupportedProgramError: Off macOS, it uses operations that the executor does not know.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._artifact, self._output = artifact, output_info
        self._file = ProgramFile(artifact, input_info, output_info)
        files = delegated(artifact)
        try:
            self._names = _Names.model_validate_json(files.get(METADATA, b""))
        except ValidationError as error:
            raise BundleError(artifact, "its delegate does not name one input and one output") from error
        # Everything is read now; the folder is not needed afterwards.
        with (
            tempfile.TemporaryDirectory(prefix="prunnet-", ignore_cleanup_errors=True) as folder,
            self._named(),
        ):
            write_pieces(files, Path(folder))
            package = Package(Path(folder) / PACKAGE)
            self._expect_description(package, input_info)
            self._weights = read_weights(read_program(package))
            self._executor = None if platform.system() == "Darwin" else Executor(package, "declared")
        self._buffer = InputBuffer(input_info)
        if self._executor is None:
            self._native = ExecuTorchBackend(artifact, input_info, output_info)
            return
        (taken,), (given,) = self._names.inputs, self._names.outputs
        shapes = {name: declared.shape for name, declared in self._executor.inputs.items()}
        if shapes != {taken: input_info.shape} or self._executor.outputs != (given,):
            raise BundleError(
                artifact,
                f"its Core ML program takes {shapes} and returns {list(self._executor.outputs)}, not what its "
                "description says",
            )

    def _expect_description(self, package: Package, input_info: TensorInfo) -> None:
        """Raise BundleError unless Core ML will see tensors of these names, shapes and types.

        In fp16, coremltools rounds the embedding itself too; ExecuTorch's delegate hands it out as float32.
        """
        description = package.model.description
        for what, features, name, info, types in (
            ("input", description.input, self._names.inputs[0], input_info, {"FLOAT32"}),
            ("output", description.output, self._names.outputs[0], self._output, {"FLOAT32", "FLOAT16"}),
        ):
            if [feature.name for feature in features] != [name]:
                found = [feature.name for feature in features]
                raise BundleError(
                    self._artifact, f"its Core ML package has the {what}s {found}, not {name!r}"
                )
            array = features[0].type.multiArrayType
            expect_shape(self._artifact, f"Core ML package's {what}", tuple(array.shape), info)
            known = array.DESCRIPTOR.enum_types_by_name["ArrayDataType"].values_by_number
            if array.dataType not in known or known[array.dataType].name not in types:
                raise BundleError(
                    self._artifact, f"its Core ML package's {what} has another type than float32"
                )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the artifact in errors about the package that was unpacked from it."""
        try:
            yield
        except UnsupportedProgramError as error:
            raise UnsupportedProgramError(self._artifact, error.operations, error.known) from error
        except BundleError as error:
            if error.file == self._artifact:
                raise
            problem = f"in its Core ML delegate, {error.file.name}: {error.problem}"
            raise BundleError(self._artifact, problem, error.remedy) from error

    @property
    def runtime(self) -> str:
        """The runtime, its version and the machine."""
        if self._executor is None:
            return f"{self._native.runtime}, with Core ML of macOS {platform.mac_ver()[0]}"
        return (
            f"MIL executor (declared) with torch {metadata.version('torch')} on {machine()}; it proves what the "
            "delegate's program says, not what the Neural Engine computes"
        )

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        if self._executor is None:
            return self._native.run(images)
        (taken,), (given,) = self._names.inputs, self._names.outputs
        with self._named():
            rows = [self._executor.run({taken: self._buffer.fill(image)})[given] for image in images]
        return stack([np.asarray(row, np.float32) for row in rows], self._output)

    def weights(self) -> list[Stored]:
        """Read the constants of the delegate's program."""
        return self._weights

    def identity(self) -> Identity:
        """Read the identity from the program's constant method."""
        return self._file.identity()
