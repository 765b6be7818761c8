"""A bound on what building a network may allocate, so that one absurd width is an error and not the machine's end."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from prunnet.errors import EncoderError

MOST_ELEMENTS = 2**31
"""Values of a network without a stored size to compare with: 8 GiB in float32."""

MOST_OPERATIONS = 2**20
"""Operations that initialise one network; the largest of timm need a hundredth of it."""

_COUNTS = ("end", "steps", "n", "m")
"""Arguments of arange, linspace and eye that say how many values there will be."""


class AllocationLimit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses, before any memory is taken, to create more values than a network may have.

    Args:
        what: What is being built, for the message.
        most: Values that all new tensors together may hold.
    """

    def __init__(self, what: str, most: int = MOST_ELEMENTS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._what, self._most = what, most
        self._values = self._operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._operations += 1
        if not any(isinstance(each, Tensor) for each in args) or func._schema.name.startswith("aten::new_"):
            self._values += _asked_for(func, args, kwargs)
        if self._values > self._most or self._operations > MOST_OPERATIONS:
            raise EncoderError(
                f"{self._what} would have more than {self._most:,} values or {MOST_OPERATIONS:,} steps to build; "
                "choose smaller options"
            )
        return func(*args, **kwargs)


def _asked_for(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the values of the tensor that a factory is about to create."""
    given: dict[str, Any] = {
        a.name: args[i] if i < len(args) else kwargs.get(a.name) for i, a in enumerate(func._schema.arguments)
    }
    if given.get("size") is not None:
        return math.prod(int(length) for length in given["size"])
    counts = [given[name] for name in _COUNTS if isinstance(given.get(name), int | float)]
    return math.prod(math.ceil(abs(count)) for count in counts) if counts else 0
