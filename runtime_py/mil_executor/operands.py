"""Typed access to the operands of one operation, with MIL's defaults where an operand is absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = Tensor | str | tuple["Value", ...]
T = TypeVar("T", int, float, bool)
Result = Tensor | tuple[Tensor, ...]


class OperandError(ValueError):
    """An operand that is absent, or not of the kind that the operation takes."""


class Operands:
    """The operands of one operation.

    Args:
        values: Parameter -> its arguments.
        shapes: Declared shape of each output; None where a dimension is not static.
        chunk: Products that are summed in fp32 before the sum is rounded to fp16; 0: never rounded.
    """

    def __init__(
        self,
        values: Mapping[str, tuple[Value, ...]],
        shapes: tuple[tuple[int | None, ...], ...] = (),
        chunk: int = 0,
    ) -> None:
        self._values, self._shapes, self.chunk = values, shapes, chunk

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def tensor(self, key: str) -> Tensor:
        """Return a tensor operand that must be there."""
        found = self.optional(key)
        if found is None:
            raise OperandError(f"has no operand {key!r}")
        return found

    def optional(self, key: str) -> Tensor | None:
        """Return a tensor operand, or None if it is absent."""
        if key not in self._values:
            return None
        found = self.tensors(key)
        if len(found) != 1:
            raise OperandError(f"has {len(found)} operands {key!r}, not one")
        return found[0]

    def tensors(self, key: str) -> tuple[Tensor, ...]:
        """Return every tensor of a list operand."""
        flat: list[Tensor] = []
        for value in self._values.get(key, ()):
            for item in value if isinstance(value, tuple) else (value,):
                if not isinstance(item, Tensor):
                    raise OperandError(f"has {item!r} as {key!r}, not a tensor")
                flat.append(item)
        return tuple(flat)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number."""
        return self._scalar(key, default, int)

    def number(self, key: str, default: float | None = None) -> float:
        """Return a real number."""
        return self._scalar(key, default, float)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a truth value."""
        return self._scalar(key, default, bool)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string."""
        if key not in self._values:
            if default is None:
                raise OperandError(f"has no operand {key!r}")
            return default
        value = self._values[key][0]
        if not isinstance(value, str):
            raise OperandError(f"has {value!r} as {key!r}, not a string")
        return value

    def integers(self, key: str, default: list[int] | None = None) -> list[int]:
        """Return a list of whole numbers; a single number is a list of one."""
        if key not in self._values:
            if default is None:
                raise OperandError(f"has no operand {key!r}")
            return default
        return [int(v) for part in self.tensors(key) for v in part.reshape(-1).tolist()]

    def flags(self, key: str, default: list[bool]) -> list[bool]:
        """Return a list of truth values."""
        return [bool(v) for v in self.integers(key, [int(v) for v in default])]

    def output_size(self, last: int) -> list[int]:
        """Return the last dimensions of the first output as declared."""
        size = self._shapes[0][-last:] if self._shapes else ()
        static = [d for d in size if d is not None]
        if len(static) != last:
            raise OperandError("has no static output shape")
        return static

    def _scalar(self, key: str, default: T | None, kind: Callable[[Any], T]) -> T:
        found = self.optional(key)
        if found is None:
            if default is None:
                raise OperandError(f"has no operand {key!r}")
            return default
        if found.numel() != 1:
            raise OperandError(f"has {list(found.shape)} as {key!r}, not a single value")
        return kind(found.item())


def position(index: Tensor, size: int) -> Tensor:
    """Turn indices, negative ones counting from the end, into int64 positions."""
    index = index.long()
    return torch.where(index < 0, index + size, index)
