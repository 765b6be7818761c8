"""Export subnetworks to the devices' own runtimes, each bundle proven before it is written.

>>> import exporters, prunnet
>>> package, profile = prunnet.load_encoder("glyphs"), prunnet.load_profile("pixel8")    # doctest: +SKIP
>>> bundle = exporters.export_bundle(package, profile, "tflite", "build")                # doctest: +SKIP

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.errors import ExportError, UnsupportedHostError
    from exporters.fleet.fleet import export_fleet, plan_fleet
    from exporters.pipeline.export import Exported, export_bundle
    from exporters.pipeline.planning import plan_export

    __version__: str

_HOMES = {
    "ExportError": "errors",
    "Exported": "pipeline.export",
    "UnsupportedHostError": "errors",
    "export_bundle": "pipeline.export",
    "export_fleet": "fleet.fleet",
    "plan_export": "pipeline.planning",
    "plan_fleet": "fleet.fleet",
}

__all__ = [
    "ExportError",
    "Exported",
    "UnsupportedHostError",
    "__version__",
    "export_bundle",
    "export_fleet",
    "plan_export",
    "plan_fleet",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("prunnet")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
