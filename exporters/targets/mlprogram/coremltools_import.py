"""Imports coremltools without TensorFlow, which it would load only to see whether it is there (4 to 12 s)."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any


def coremltools() -> Any:
    """Return the package coremltools."""
    if "coremltools" in sys.modules:
        return sys.modules["coremltools"]
    # None makes `import tensorflow` raise ImportError at once; an imported TensorFlow is left alone.
    block = "tensorflow" not in sys.modules
    # Off macOS it warns about each native library that its wheel lacks; conversion needs none of them.
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    if block:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("coremltools")
    finally:
        if block:
            del sys.modules["tensorflow"]
