"""Puts off the import of torch's compiler, 2 s of CPU, until something is compiled.

timm, torchvision and torch's own arithmetic on meta tensors import it for one function each: `torch._dynamo.disable`,
which keeps a function from being compiled, and a question that one operator asks when it is called. As long as the
compiler is not imported nothing is compiled, so there is nothing to disable.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_NAMES = ("torch._dynamo", "torch._dynamo.utils")


@contextmanager
def compiler_put_off() -> Iterator[None]:
    """Let whatever runs inside import those names of the compiler without the compiler.

    Whoever wants another name gets it: asking imports the compiler after all.
    """
    if any(name in sys.modules for name in _NAMES):
        yield
        return
    stand_ins = {name: _StandIn(name) for name in _NAMES}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _disable(function: Callable[..., Any] | None = None, *options: Any, **more: Any) -> Any:
    """Keep a function from being compiled, as `torch._dynamo.disable` does, once there is a compiler."""
    if function is None:
        return lambda given: _disable(given, *options, **more)
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def late(*arguments: Any, **keywords: Any) -> Any:
        nonlocal disabled
        compiler = sys.modules.get("torch._dynamo")
        if disabled is None and not (compiler is None or isinstance(compiler, _StandIn)):
            disabled = compiler.disable(function, *options, **more)
        return (disabled or function)(*arguments, **keywords)

    return late


def _is_compile_supported(device_type: str) -> bool:
    """Ask the compiler itself; see `torch._dynamo.utils.is_compile_supported`."""
    return bool(importlib.import_module("torch._dynamo.utils").is_compile_supported(device_type))


class _StandIn(ModuleType):
    """Has those names, and the real module for whoever wants more."""

    disable = staticmethod(_disable)
    is_compile_supported = staticmethod(_is_compile_supported)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        for other in _NAMES:
            if isinstance(sys.modules.get(other), _StandIn):
                del sys.modules[other]
        return getattr(importlib.import_module(self.__name__), name)
