"""What every backend offers, and how pixels become the input of an artifact."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.weights import Stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.errors import BundleError


class Backend(Protocol):
    """One opened artifact on one device runtime; any number of threads may call it at once."""

    @property
    def runtime(self) -> str:
        """The runtime, its version and the machine, e.g. "LiteRT 2.3.0 on x86_64 Linux"."""

    def run(self, images: Pixels) -> Floats:
        """Embed images.

        Args:
            images: uint8 [N, H, W, 3], RGB, N >= 0; the artifact's own H and W.

        Returns:
            float32 [N, D], exactly as the artifact computes it (not normalised again).
        """

    def identity(self) -> Identity:
        """Return what is written inside the artifact."""

    def weights(self) -> list[Stored]:
        """Return the weights that the format shows; XNNPACK's are packed, and none is shown."""


@runtime_checkable
class Closable(Protocol):
    """A backend that holds more than memory, such as a process."""

    def close(self) -> None:
        """End it; twice is once."""


class BackendClass(Protocol):
    """A backend's constructor: opens the artifact, and raises BundleError if it cannot."""

    def __call__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> Backend:
        """Open `artifact`, whose one input and one output the manifest describes."""


class InputBuffer(threading.local):
    """Where images are arranged for an artifact: made once for each thread, so that no call waits for new memory.

    Args:
        info: The artifact's input; its layout is NCHW or NHWC, its batch 1.
        dtype: Element type of the buffer; None is the input's own.
    """

    def __init__(self, info: TensorInfo, dtype: str | None = None) -> None:
        self._batch = np.empty(info.shape, dtype or info.dtype)
        # Planes are sorted out as bytes and converted then: a quarter of the memory is walked in steps.
        self._planes = np.empty((3, self._batch.size // 3), np.uint8) if info.layout == "NCHW" else None

    def fill(self, image: Pixels) -> npt.NDArray[Any]:
        """Arrange one image as a batch of one.

        Args:
            image: uint8 [H, W, 3], RGB.

        Returns:
            [1, 3, H, W] or [1, H, W, 3], values 0..255; the buffer itself, valid until this thread's next call.
        """
        if self._planes is None:
            self._batch[0] = image
        else:
            np.copyto(self._planes, image.reshape(-1, 3).T)
            self._batch[0] = self._planes.reshape(self._batch.shape[1:])
        return self._batch


def expect_shape(artifact: Path, what: str, found: tuple[int | str | None, ...], info: TensorInfo) -> None:
    """Raise BundleError unless the artifact's tensor has the shape that the manifest states."""
    if found != info.shape:
        raise BundleError(artifact, f"its {what} has shape {list(found)}, not {list(info.shape)} as stated")


def expect_dtype(artifact: Path, what: str, found: str, info: TensorInfo) -> None:
    """Raise BundleError unless the artifact's tensor has the element type that the manifest states."""
    if found != info.dtype:
        raise BundleError(artifact, f"its {what} is {found}, not {info.dtype} as stated")


def stack(rows: list[npt.NDArray[np.float32]], output_info: TensorInfo) -> Floats:
    """Join embeddings [1, D] of single images to float32 [N, D]; N may be 0."""
    if not rows:
        return np.zeros((0, output_info.shape[-1]), np.float32)
    return np.concatenate(rows).astype(np.float32, copy=False)


def identity_of(artifact: Path, found: Mapping[str, str]) -> Identity:
    """Return the identity that an artifact's entries state; raise BundleError if they state none."""
    try:
        return Identity.of(found)
    except ValueError as error:
        raise BundleError(artifact, str(error)) from error


def machine() -> str:
    """Return for example "x86_64 Linux"."""
    return f"{platform.machine()} {platform.system()}"
