"""The one table of MIL operations that can be executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runtime_py.mil_executor.operands import Operands, Result

Kernel = Callable[[Operands], Result]

KERNELS: dict[str, Kernel] = {}
"""Name of the operation in MIL -> what computes it. The modules of `runtime_py.mil_executor.ops` fill it."""


def register(*names: str) -> Callable[[Kernel], Kernel]:
    """Enter a kernel under the MIL names that it computes; a name is entered once."""

    def enter(kernel: Kernel) -> Kernel:
        for name in names:
            if name in KERNELS:
                raise ValueError(f"MIL operation {name!r} is registered twice")
            KERNELS[name] = kernel
        return kernel

    return enter


def unknown(kinds: Iterable[str]) -> list[str]:
    """Return, sorted, the operations that no kernel computes."""
    return sorted(set(kinds) - set(KERNELS))
