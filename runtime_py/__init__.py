"""Embed queries on a device, and prove that they may meet the server's index.

>>> from runtime_py import load
>>> encoder = load("build/pixel8/tflite")                     # doctest: +SKIP
>>> vectors = encoder.embed(images)                           # doctest: +SKIP
>>> encoder.check().raise_if_incompatible()                   # doctest: +SKIP

Names are imported when they are first used: every command of the project passes through here, and its
`--help` must not pay for numpy.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime_py.check.report import DriftReport
    from runtime_py.encoder import QueryEncoder
    from runtime_py.errors import (
        BundleError,
        IncompatibleError,
        MissingExtraError,
        PrunnetError,
        UnknownNameError,
    )
    from runtime_py.loading import load

    __version__: str

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

_HOMES = {"load": "loading", "QueryEncoder": "encoder", "DriftReport": "check.report"}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return metadata.version("prunnet")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
