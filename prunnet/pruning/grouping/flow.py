"""The graph of a forward pass, which says after which module a group is named."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Flow:
    """Which operation got what from which, and which module's output it is."""

    def __init__(self) -> None:
        self._sources: list[list[int]] = []
        self._modules: dict[int, str] = {}
        self._node = WeakTensorKeyDictionary()

    def step(self, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
        """Note one operation."""
        self._sources.append([self._node[t] for t in inputs if t in self._node])
        for tensor in outputs:
            self._node[tensor] = len(self._sources) - 1

    def name(self, out: object, module: str) -> None:
        """Note that a convolution or linear layer returned this."""
        if isinstance(out, Tensor) and out in self._node:
            self._modules[self._node[out]] = module

    def backwards(self, out: Tensor) -> list[str]:
        """Return the modules as they are met on the way back from the output, the last input of each operation first.

        Scores of trained encoders are stored by the groups' names, so this order stays what it is.
        """
        order: dict[str, None] = {}
        stack, visited = [self._node[out]] if out in self._node else [], set()
        while stack:
            node = stack.pop()
            if node in visited:
                continue
            visited.add(node)
            for source in self._sources[node]:
                if source in self._modules:
                    order.setdefault(self._modules[source])
                stack.append(source)
        return list(order)
