"""The registry of device runtimes: one lazy table, target -> module, class and pip extra.

A backend's module imports its runtime at the top; nothing here does, so `import runtime_py` stays light.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

from runtime_py.backends.base import Backend, BackendClass
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.errors import BundleError, MissingExtraError, PrunnetError, UnknownNameError

__all__ = ["APPLE_ONLY", "TARGETS", "Backend", "entry_of", "open_backend"]


class _Entry(NamedTuple):
    module: str
    class_name: str
    extra: str


TARGETS = {
    "coreml": _Entry("runtime_py.backends.coreml", "CoreMLBackend", "runtime-coreml"),
    "executorch": _Entry("runtime_py.backends.executorch", "ExecuTorchBackend", "runtime-executorch"),
    "executorch-coreml": _Entry(
        "runtime_py.backends.executorch_coreml", "ExecuTorchCoreMLBackend", "runtime-executorch-coreml"
    ),
    "onnx": _Entry("runtime_py.backends.onnx", "OnnxBackend", "runtime-onnx"),
    "tflite": _Entry("runtime_py.backends.tflite", "TFLiteBackend", "runtime-tflite"),
}

APPLE_ONLY = ("coreml", "executorch-coreml")
"""Targets that Apple's systems alone run. Elsewhere the saved program is executed operation by operation, which says
nothing about time and memory on a device."""

_RUNNER = _Entry("runtime_py.backends.executorch_runner", "ExecuTorchRunnerBackend", "runtime-executorch")
"""Stands for ExecuTorch's binding where the environment names a runner of its C++ runtime."""


def entry_of(target: str) -> _Entry:
    """Return where the runtime of a known target is found."""
    if target == "executorch" and "PRUNNET_EXECUTORCH_RUNNER" in os.environ:
        return _RUNNER
    return TARGETS[target]


def open_backend(
    target: str, artifact_path: str | Path, input_info: TensorInfo, output_info: TensorInfo
) -> Backend:
    """Open a bare artifact on its device runtime.

    Args:
        target: A name in `TARGETS`.
        artifact_path: The artifact's file, or folder for Core ML.
        input_info: Its one input: batch 1, pixels 0..255.
        output_info: Its one output: [1, D].

    Raises:
        UnknownNameError: No such target.
        MissingExtraError: The runtime is not installed, or does not load on this machine.
        BundleError: The artifact does not exist, does not open, or is not what the two infos say.
    """
    if target not in TARGETS:
        raise UnknownNameError("target", target, TARGETS)
    entry = entry_of(target)
    path = Path(artifact_path)
    if not path.exists():
        raise BundleError(path, "does not exist")
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, OSError) as error:  # OSError: no temporary folder
        package = getattr(error, "name", None) or entry.module
        raise MissingExtraError(package, entry.extra, f"target {target!r}", error) from error
    backend_class = cast(BackendClass, getattr(module, entry.class_name))
    with artifact_errors(path):
        return backend_class(path, input_info, output_info)


@contextmanager
def artifact_errors(artifact: Path) -> Iterator[None]:
    """Turn what a runtime raises on a damaged artifact into a BundleError; errors of ours pass.

    Each runtime has its own exceptions, and its binding adds those of Python: names that are not UTF-8, numbers
    that no array has.
    """
    try:
        yield
    except PrunnetError:
        raise
    except Exception as error:
        raise BundleError(
            artifact, f"its runtime does not open it ({type(error).__name__}: {error})"
        ) from error
