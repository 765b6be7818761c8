"""One operation of a forward pass, as the rules see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from prunnet.pruning.grouping.book import Book
from prunnet.pruning.grouping.labels import NOTHING, Labels, Numbers, aligned, varying

Operand = tuple[Labels, Sequence[int], "Sequence[int] | None"]
"""Labels, shape and strides; no strides: no dimension is a stretched one."""


class UnknownCaseError(Exception):
    """A rule was not made for the way in which an operation is called; never leaves this package."""


class Call:
    """One operation, with its arguments by name.

    Args:
        function: The operator's overload.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        out: What it returned.
        book: Where what it says is written.
        known: Labels of all tensors so far.
        weights: Tensors that are computed from parameters and buffers alone.
        module: Name of the module whose code runs, and of what kind it is.
    """

    def __init__(
        self,
        function: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        out: Any,
        book: Book,
        known: WeakTensorKeyDictionary,
        weights: WeakTensorKeyDictionary,
        module: tuple[str, str],
    ) -> None:
        schema = function._schema
        self.name: str = schema.name
        self.arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        self.arguments |= {a.name: value for a, value in zip(schema.arguments, args, strict=False)}
        self.arguments |= kwargs
        self.out, self.book = out, book
        self._known, self._weights = known, weights
        self.module, self.kind = module

    def __getitem__(self, name: str) -> Any:
        """Return an argument. Raises UnknownCaseError if this overload of the operation has none of that name."""
        if name not in self.arguments:
            raise UnknownCaseError(f"{self.name} without {name}")
        return self.arguments[name]

    @property
    def place(self) -> str:
        """The operation and the module it is in, in words."""
        return f"{self.name.removeprefix('aten::')} in {self.module or 'the encoder'}"

    def labels(self, tensor: Tensor) -> Labels:
        """Return the labels of a tensor."""
        found: Labels = self._known.get(tensor, NOTHING)  # type: ignore[no-untyped-call]
        return found

    def is_weight(self, tensor: Tensor) -> bool:
        """Say whether a tensor is computed from parameters and buffers alone."""
        return tensor in self._weights

    def tensors(self) -> list[Tensor]:
        """Return all tensors among the arguments."""
        return list(tensors_in(self.arguments.values()))

    def asked(self, array: Numbers, dim: int, value: int | None = None) -> None:
        """Note that the code asked for a size of a dimension that an array changes along."""
        self.book.size(self.module, array.shape[dim] if value is None else value, array, dim)

    def blend(self, operands: Iterable[Operand], why: str) -> Labels:
        """Return the labels of a tensor whose elements are computed from one element of each operand.

        Args:
            operands: What is computed from.
            why: Why a channel is kept that meets something of full width.
        """
        operands = list(operands)
        rank = max((len(shape) for _, shape, _ in operands), default=0)
        merged = self.book.merge(aligned(a, rank) for labels, *_ in operands for a in labels)
        result: list[Numbers] = []
        for array in merged:
            wide = [d for d in varying(array) if any(_is_wide(d, rank, operand) for operand in operands)]
            result += self.limited(array, wide, why)
        return tuple(result)

    def limited(self, array: Numbers, dims: Iterable[int], why: str) -> Labels:
        """Let some dimensions of an array keep their full size; returns what may still be cut along others."""
        dims = [d for d in dims if array.shape[d] > 1]
        if not dims:
            return (array,)
        if len(dims) == len(varying(array)):
            self.book.keep(array, why)  # what keeps its width needs no labels any more
            return NOTHING
        return (self.book.tie(array, dims, why),)

    def operand(self, tensor: Tensor) -> Operand:
        """Return what `blend` needs of a tensor."""
        return self.labels(tensor), tuple(tensor.shape), tensor.stride()


def _is_wide(dim: int, rank: int, operand: Operand) -> bool:
    """Say whether an operand has a dimension's full size, without labels and not by stretching size 1."""
    labels, shape, strides = operand
    own = dim - rank + len(shape)
    if own < 0 or shape[own] == 1 or (strides is not None and strides[own] == 0):
        return False
    return not any(aligned(a, rank).shape[dim] > 1 for a in labels)


Rule = Callable[[Call], "Labels | list[Labels]"]


def tensors_in(values: Iterable[Any]) -> Iterable[Tensor]:
    """Yield all tensors among values and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def channels_at(array: Numbers, dim: int, rank: int) -> Numbers:
    """Return 1-D labels as those of one dimension of a tensor of some rank."""
    return array.reshape([-1 if d == dim else 1 for d in range(rank)])


def positive(dim: int, rank: int) -> int:
    """Return a dimension that may be counted from the end, counted from the start."""
    return dim % rank if rank else 0


def dims_of(given: Any, rank: int) -> tuple[int, ...]:
    """Return the dimensions that a reduction names; none means all."""
    if given is None or given == []:
        return tuple(range(rank))
    return tuple(positive(d, rank) for d in ([given] if isinstance(given, int) else given))


def as_numbers(tensor: Tensor) -> Numbers:
    """Return an integer tensor as an array."""
    return tensor.numpy().astype(np.int64, copy=False)


def as_tensor(array: Numbers, shape: Sequence[int]) -> Tensor:
    """Return labels spread out to a shape, as a tensor."""
    return torch.from_numpy(np.broadcast_to(array, tuple(shape)).copy())
