"""Core ML's protobuf messages, taken from coremltools without importing coremltools itself.

`import coremltools` takes 7 to 19 s because it loads torch, scikit-learn and TensorFlow; its generated
`Model_pb2` alone takes 0.06 s.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime_py.errors import MissingExtraError

_MESSAGES = "coremltools.proto.Model_pb2"


def parse_model(content: bytes) -> Any:
    """Read Core ML's `Model` message.

    Raises:
        ValueError: The bytes are not such a message.
        MissingExtraError: coremltools, which brings the message definitions, is not installed.
    """
    messages = _messages()
    from google.protobuf.message import DecodeError

    model = messages.Model()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return model


def _messages() -> ModuleType:
    if _MESSAGES in sys.modules:
        return sys.modules[_MESSAGES]
    if "coremltools" in sys.modules:
        return importlib.import_module(_MESSAGES)
    found = PathFinder.find_spec("coremltools")
    if found is None or found.origin is None:
        raise MissingExtraError("coremltools", "runtime-coreml", "reading a Core ML package")
    root = Path(found.origin).parent
    shells = {"coremltools": root, "coremltools.proto": root / "proto"}
    for name, folder in shells.items():
        shell = ModuleType(name)
        shell.__path__ = [str(folder)]
        sys.modules[name] = shell
    try:
        return importlib.import_module(_MESSAGES)
    finally:
        # Taken out again so that a later `import coremltools` finds the real package and not these shells.
        for name in shells:
            del sys.modules[name]
