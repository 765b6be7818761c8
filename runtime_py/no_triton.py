"""Keeps Triton out of a process that has TensorFlow: its library, loaded second, ends the process (both hold LLVM).

On Linux the torch of the package index brings Triton, and imports it with its compiler, wherever that is first needed.
The other order works. torch goes on without a Triton that cannot be imported.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "triton"


class _Refusal:
    """Finds Triton before Python does, once TensorFlow is loaded, and refuses to load it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        is_deadly = name == _NAME and sys.modules.get("tensorflow") is not None
        return ModuleSpec(name, self) if is_deadly else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        raise ImportError("Triton would end this process, which has TensorFlow", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Python asks for the method; no module is made that could be run."""


sys.meta_path.insert(0, _Refusal())
