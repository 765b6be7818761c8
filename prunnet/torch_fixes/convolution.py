"""Gradients of narrow pointwise convolutions with a stride, kept away from a fault of oneDNN.

oneDNN gathers the pixels that such a convolution reads, channels-last, in vectors of its block. Where the block has
more channels than the image (8 on AVX2), it writes past its working memory, and the heap is damaged
(https://github.com/uxlfoundation/oneDNN/issues/6035, in torch 2.13): a crash somewhere later, or wrong gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import Library, get_kernel

from prunnet.errors import TrainingError

WIDEST_BLOCK = 16
"""Channels of oneDNN's widest block; with as many, no processor's kernels are at fault."""

_OPERATOR = "aten::convolution_backward"


class _Guard:
    """Stands before the CPU's `aten::convolution_backward`: every backward pass of this process goes through it.

    Whatever module runs, however it was made (a user's own, a subnetwork under `functional_call`, an extracted encoder,
    one of `torch.compile`), nothing of it is changed, and no forward pass: what is exported is what it was.
    """

    def __init__(self) -> None:
        self._kernel = get_kernel(_OPERATOR, "CPU")
        self._library = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
        self._library.impl(  # type: ignore[no-untyped-call]
            "convolution_backward", self, "CPU", with_keyset=True
        )

    def __call__(
        self,
        keys: Any,
        gradient: Tensor,
        input: Tensor,
        weight: Tensor,
        bias_sizes: Sequence[int] | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
        wanted: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        """Do what the operator does, whose parameters these are.

        A narrow pointwise convolution with a stride is one without, on the pixels that it reads.
        """
        dims = input.ndim - 2
        steps, margins = _each(stride, dims), _each(padding, dims)
        pointwise = all(size == 1 for size in weight.shape[2:])
        if transposed or not pointwise or weight.shape[1] >= WIDEST_BLOCK or max(steps, default=1) == 1:
            shape = [stride, padding, dilation, transposed, output_padding, groups]
            return self._call(keys, gradient, input, weight, bias_sizes, *shape, wanted)
        read = _read(input, steps, margins, gradient.shape[2:])
        plain = [[1] * dims, [0] * dims, [1] * dims, False, [0] * dims, groups]
        of_read, *others = self._call(keys, gradient, read, weight, bias_sizes, *plain, wanted)
        return (None if of_read is None else _spread(of_read, input, steps, margins)), *others

    def _call(self, keys: Any, *arguments: Any) -> tuple[Tensor | None, ...]:
        result: tuple[Tensor | None, ...] = self._kernel.call_boxed(keys, *arguments)
        return result


def _each(values: Sequence[int], dims: int) -> list[int]:
    """Return one value for each spatial dimension; the operator takes one for all, too."""
    return [*values] * dims if len(values) == 1 else [*values]


def _strided(steps: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    spatial = (slice(0, (size - 1) * step + 1, step) for step, size in zip(steps, sizes, strict=True))
    return (slice(None), slice(None), *spatial)


def _read(input: Tensor, steps: Sequence[int], margins: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Return the pixels that a kernel of one pixel reads, dense and in the same memory format, [N, C, *sizes]."""
    form = _format(input)
    if any(margins):
        input = F.pad(input, [margin for each in reversed(margins) for margin in (each, each)])
    return input[_strided(steps, sizes)].contiguous(memory_format=form)


def _spread(values: Tensor, like: Tensor, steps: Sequence[int], margins: Sequence[int]) -> Tensor:
    """Return a tensor like `like` that has the values where `_read` took them, and zeros elsewhere."""
    sizes = [size + 2 * margin for size, margin in zip(like.shape[2:], margins, strict=True)]
    form = _format(like)
    wide = torch.zeros([*like.shape[:2], *sizes], dtype=values.dtype).contiguous(memory_format=form)
    wide[_strided(steps, values.shape[2:])] = values
    for dim, (size, margin) in enumerate(zip(like.shape[2:], margins, strict=True), 2):
        wide = wide.narrow(dim, margin, size)
    return wide


def _format(tensor: Tensor) -> torch.memory_format:
    form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim, torch.contiguous_format)
    return form if tensor.is_contiguous(memory_format=form) else torch.contiguous_format


@cache
def guard_convolutions() -> None:
    """Guard the backward passes of this process, once; `prunnet.encoder.encoder` calls it, which all that trains
    imports.

    Raises:
        TrainingError: Something else in this process has replaced the same operator.
    """
    try:
        _GUARDS.append(_Guard())
    except RuntimeError as error:
        raise TrainingError(
            f"something else in this process has replaced torch's {_OPERATOR} on the CPU, so gradients cannot be kept "
            "away from a fault of oneDNN; use prunnet in a process without it, or import prunnet.encoder.encoder first"
        ) from error


_GUARDS: list[_Guard] = []
"""torch drops what a library registered when nobody holds it."""
