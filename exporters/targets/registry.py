"""The table of targets. A row names a module, which loads with its toolchain when it is asked for."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from exporters.errors import UnsupportedHostError
from runtime_py.errors import MissingExtraError, UnknownNameError

if TYPE_CHECKING:
    from exporters.targets.base import Exporter
    from runtime_py.bundle.manifest import Target


@dataclass(frozen=True)
class TargetEntry:
    """One row of the table.

    Args:
        module: Module that holds the exporter.
        class_name: Class in it.
        extra: The pip extra that brings the toolchain.
        imports: Top-level packages that the exporter imports.
        suffix: Suffix of the artifact.
        platforms: Device platforms that the target's runtime serves.
        hosts: Computers that its converter is built for, as `host` names them; empty for any.
    """

    module: str
    class_name: str
    extra: str
    imports: tuple[str, ...]
    suffix: str
    platforms: tuple[str, ...]
    hosts: tuple[str, ...] = ()


CONVERTERS_HOSTS = ("Linux x86_64", "Darwin arm64")
"""Of litert-converter, and of coremltools' writer of weights, which pip's build from its source elsewhere lacks."""

TARGETS: dict[str, TargetEntry] = {
    "executorch": TargetEntry(
        "exporters.targets.executorch.exporter",
        "ExecuTorchExporter",
        "executorch",
        ("torch", "torchao", "executorch"),
        ".pte",
        ("android", "ios", "linux", "macos"),
    ),
    "executorch-coreml": TargetEntry(
        "exporters.targets.executorch_coreml.exporter",
        "ExecuTorchCoreMLExporter",
        "executorch-coreml",
        ("torch", "executorch", "coremltools"),
        ".pte",
        ("ios", "macos"),
        CONVERTERS_HOSTS,
    ),
    "coreml": TargetEntry(
        "exporters.targets.coreml.exporter",
        "CoreMLExporter",
        "coreml",
        ("torch", "coremltools"),
        ".mlpackage",
        ("ios", "macos"),
        CONVERTERS_HOSTS,
    ),
    "tflite": TargetEntry(
        "exporters.targets.tflite.exporter",
        "TfliteExporter",
        "tflite",
        ("torch", "ai_edge_quantizer", "ai_edge_litert", "litert_torch"),
        ".tflite",
        ("android", "ios", "linux", "macos"),
        CONVERTERS_HOSTS,
    ),
    "onnx": TargetEntry(
        "exporters.targets.onnx.exporter",
        "OnnxExporter",
        "onnx",
        ("torch", "onnx", "onnxscript"),
        ".onnx",
        ("android", "ios", "linux", "macos", "windows"),
    ),
}


def target_entry(name: str) -> TargetEntry:
    """Return the row of a target; UnknownNameError lists the known ones."""
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return TARGETS[name]


def as_target(name: str) -> Target:
    """Return the name as a Target; UnknownNameError lists the known ones."""
    target_entry(name)
    return cast("Target", name)


def get_exporter(name: str) -> Exporter:
    """Return the exporter of a target.

    Args:
        name: A key of `TARGETS`.

    Raises:
        UnknownNameError: No such target.
        UnsupportedHostError: Its converter is not built for this computer.
        MissingExtraError: Its toolchain is not installed; names the pip extra.
    """
    entry = target_entry(name)
    if entry.hosts and host() not in entry.hosts:
        raise UnsupportedHostError(name, host(), entry.hosts)
    for package in entry.imports:
        if not _installed(package):
            raise MissingExtraError(package, entry.extra, f"exporting to {name}")
    exporter_class = getattr(import_module(entry.module), entry.class_name)
    return cast("Exporter", exporter_class())


def host() -> str:
    """Return what this computer is, as `TargetEntry.hosts` names it, e.g. "Linux aarch64"."""
    return f"{platform.system()} {platform.machine()}"


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:  # an import hook, of a packager for instance, says no in its own way
        return False
