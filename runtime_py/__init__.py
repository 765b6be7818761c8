"""Embed queries on a device, and prove that they may meet the server's index.

>>> from runtime_py import load
>>> encoder = load("build/pixel8/tflite")                     # doctest: +SKIP
>>> vectors = encoder.embed(images)                           # doctest: +SKIP
>>> encoder.check().raise_if_incompatible()                   # doctest: +SKIP
"""

from importlib import metadata

from runtime_py.bundle import load
from runtime_py.encoder import QueryEncoder
from runtime_py.errors import (
    BundleError,
    IncompatibleError,
    MissingExtraError,
    PrunnetError,
    UnknownNameError,
)
from runtime_py.report import DriftReport

__version__ = metadata.version("prunnet")

__all__ = [
    "BundleError",
    "DriftReport",
    "IncompatibleError",
    "MissingExtraError",
    "PrunnetError",
    "QueryEncoder",
    "UnknownNameError",
    "__version__",
    "load",
]
