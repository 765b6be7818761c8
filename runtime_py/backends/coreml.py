"""Core ML: the system's own runtime on macOS, the executor of the saved program elsewhere."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import expect_shape, identity_of, machine, stack
from runtime_py.backends.coreml_weights import read_weights
from runtime_py.backends.weights import Stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.errors import BundleError, MissingExtraError
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import read_program

Predict = Callable[[Pixels], npt.NDArray[np.float32]]
"""uint8 [H, W, 3] -> float32 [1, D]."""


class CoreMLBackend:
    """One opened `.mlpackage`.

    Args:
        artifact: The package.
        input_info: Its one image input.
        output_info: Its one output.

    Raises:
        BundleError: The package is malformed, or its tensors are not those that are stated.
        UnsupportedProgramError: Off macOS, it uses operations that the executor does not know.
        MissingExtraError: coremltools (or, off macOS, torch) is not installed.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._output = output_info
        self._package = package = Package(artifact)
        _check_interface(package, artifact, input_info, output_info)
        self._identity = identity_of(artifact, package.metadata)
        if platform.system() == "Darwin":
            self._predict = _system_prediction(artifact, input_info.name, output_info.name)
            self._runtime = f"Core ML of macOS {platform.mac_ver()[0]} on {platform.machine()}"
        else:
            self._predict = _executed_prediction(package, input_info, output_info)
            self._runtime = (
                f"MIL executor (declared) with torch {metadata.version('torch')} on {machine()}; it proves "
                "what the file says, not what the Neural Engine computes"
            )

    @property
    def runtime(self) -> str:
        """The runtime, its version and the machine."""
        return self._runtime

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] as float32 [N, D], one image at a time."""
        return stack([self._predict(image) for image in images], self._output)

    def identity(self) -> Identity:
        """Return the `prunnet.*` entries of the package's user-defined metadata."""
        return self._identity

    def weights(self) -> list[Stored]:
        """Read the program's constants, and what is unfolded to constants when it loads."""
        return read_weights(read_program(self._package))


def _executed_prediction(package: Package, stated_in: TensorInfo, stated_out: TensorInfo) -> Predict:
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "runtime-coreml", "executing a Core ML program off macOS")
    from runtime_py.mil_executor.executor import Executor

    executor = Executor(package, "declared")
    taken = {name: declared.shape for name, declared in executor.inputs.items()}
    if taken != {stated_in.name: (1, 3, *stated_in.image_size)} or executor.outputs != (stated_out.name,):
        raise BundleError(
            package.model_path,
            f"its program takes {taken} and returns {list(executor.outputs)}, not what its description says",
        )
    reverse = package.image_inputs[stated_in.name] == "BGR"

    def predict(image: Pixels) -> npt.NDArray[np.float32]:
        channels = image[..., ::-1] if reverse else image
        pixels = np.ascontiguousarray(channels.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)
        return np.asarray(executor.run({stated_in.name: pixels})[stated_out.name], np.float32)

    return predict


def _system_prediction(artifact: Path, input_name: str, output_name: str) -> Predict:
    try:
        from coremltools.models import MLModel
        from PIL import Image
    except ImportError as error:
        package = error.name or "coremltools"
        raise MissingExtraError(package, "runtime-coreml", "predicting with Core ML", error) from error
    try:
        model = MLModel(str(artifact))
    except Exception as error:  # the system compiles it here, and coremltools passes on bare exceptions
        raise BundleError(artifact, f"Core ML does not open it ({error})") from error

    alone = threading.Lock()  # Apple promises no more than one prediction of a model at a time

    def predict(image: Pixels) -> npt.NDArray[np.float32]:
        with alone:
            result: dict[str, Any] = model.predict({input_name: Image.fromarray(image)})
        return np.asarray(result[output_name], np.float32).reshape(1, -1)

    return predict


def _check_interface(package: Package, artifact: Path, stated_in: TensorInfo, stated_out: TensorInfo) -> None:
    """Raise BundleError unless the model has exactly the stated image input and output."""
    description = package.model.description
    inputs = {feature.name: feature.type for feature in description.input}
    outputs = {feature.name: feature.type for feature in description.output}
    for what, found, stated in (("inputs", inputs, stated_in), ("outputs", outputs, stated_out)):
        if set(found) != {stated.name}:
            raise BundleError(artifact, f"has the {what} {sorted(found)}, not {stated.name!r} alone")
    if package.image_inputs.get(stated_in.name) not in ("RGB", "BGR"):
        raise BundleError(artifact, f"its input {stated_in.name!r} is not a colour image")
    image = inputs[stated_in.name].imageType
    size = (int(image.height), int(image.width))
    if size != stated_in.image_size:
        raise BundleError(artifact, f"its input is {size} pixels, not {stated_in.image_size} as stated")
    shape = tuple(int(size) for size in outputs[stated_out.name].multiArrayType.shape)
    expect_shape(artifact, "output", shape, stated_out)
