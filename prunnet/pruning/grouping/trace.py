"""Run an encoder once and follow what every element of every tensor belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping import contraction, movement, reduction
from prunnet.pruning.grouping.book import Book
from prunnet.pruning.grouping.call import Call, Rule, UnknownCaseError, tensors_in
from prunnet.pruning.grouping.deadline import Deadline, running
from prunnet.pruning.grouping.flow import Flow
from prunnet.pruning.grouping.labels import NOTHING, Labels

_RULES: dict[str, Rule] = {**movement.RULES, **reduction.RULES, **contraction.RULES}
_POINTWISE = frozenset(
    {
        "aten::copy_",
        "aten::hardswish",
        "aten::hardswish_",
        "aten::_prelu_kernel",
        "aten::hardsigmoid_",
        "aten::glu_jvp",
    }
)
"""Pointwise operations that PyTorch does not call so."""
_SILENT = frozenset({"aten::_local_scalar_dense", "aten::is_same_size", "aten::equal", "aten::_assert_async"})
"""Operations that return no tensor and change none."""


def trace(encoder: Encoder, pixels: Tensor, deadline: Deadline) -> Book:
    """Return what one forward pass says about the encoder's channels.

    Args:
        encoder: In eval mode. A copy, as a forward pass may leave things behind in modules.
        pixels: float32 [N, 3, H, W], raw RGB in 0..255.
        deadline: When the pass must have ended.

    Raises:
        EncoderError: The deadline has passed, or the encoder's own code fails; names the module.
    """
    book, names = Book(), dict(_owned(encoder))
    with running(encoder, deadline) as stack, torch.inference_mode():
        run = _Following(book, stack, deadline)
        for name, tensor in names.items():
            run.enter(tensor, book.enter(name, tensor.shape) if tensor.is_floating_point() else NOTHING)
        try:
            with run, _named(encoder, run.flow), _plain_attention():
                out = encoder(pixels)
        except EncoderError:
            raise
        except Exception as error:
            raise EncoderError(
                f"the module {stack[-1][0] or 'encoder'} ({stack[-1][1]}) fails while its operations are followed, "
                f"where no gradient can be taken: {type(error).__name__}: {error}; use granularity 'weight'"
            ) from error
    for array in run.known.get(out, ()):  # type: ignore[no-untyped-call]
        book.keep(array, "the embedding's dimension is the gallery's")
    book.order = run.flow.backwards(out)
    return book


def _owned(encoder: Encoder) -> Iterator[tuple[str, Tensor]]:
    yield from encoder.named_parameters()
    yield from encoder.named_buffers()


class _Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, book: Book, stack: list[tuple[str, str]], deadline: Deadline) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.book, self._stack, self._deadline = book, stack, deadline
        self.known, self._weights = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        self.flow = Flow()

    def enter(self, tensor: Tensor, labels: Labels) -> None:
        """Give a parameter or buffer its labels."""
        self.known[tensor], self._weights[tensor] = labels, True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        pointwise = torch.Tag.pointwise in func.tags or name in _POINTWISE
        if name not in _RULES and not pointwise:
            with self:
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        out = func(*args, **kwargs)
        self._deadline.check(*self._stack[-1])
        inputs = list(tensors_in([*args, *kwargs.values()]))
        self.flow.step(inputs, tensors_in([out]))
        labelled = any(t in self.known for t in inputs)
        if labelled and name not in _SILENT:
            call = Call(func, args, kwargs, out, self.book, self.known, self._weights, self._stack[-1])
            outs = list(out) if isinstance(out, list | tuple) else [out]
            is_empty = isinstance(out, Tensor) and not out.numel()
            found = NOTHING if is_empty else self._found(call, pointwise)
            several = found if isinstance(found, list) else [found]
            for tensor, labels in zip(outs, several, strict=False):
                if isinstance(tensor, Tensor):
                    self.known[tensor] = labels
            if inputs and all(t in self._weights for t in inputs):
                for tensor in tensors_in(outs):
                    self._weights[tensor] = True
        return out

    def _found(self, call: Call, pointwise: bool) -> Labels | list[Labels]:
        """Return the labels of what a call returned; all that it reads keeps its width if no rule knows them."""
        try:
            return self._rule(call.name, pointwise)(call)
        except UnknownCaseError:
            return movement.unknown(call)
        except (
            Exception
        ) as error:  # the rules are ours: whatever fails in them is our fault, and must be seen
            shapes = ", ".join(str(list(t.shape)) for t in call.tensors())
            raise EncoderError(
                f"prunnet's rule for the operation {call.name.removeprefix('aten::')} on {shapes} fails in the module "
                f"{call.module or 'encoder'} ({call.kind}): {type(error).__name__}: {error}; this is a fault of "
                "prunnet: please report it, and use granularity 'weight' until it is mended"
            ) from error

    def _rule(self, name: str, pointwise: bool) -> Rule:
        if name in _RULES:
            return _RULES[name]
        return _pointwise if pointwise else movement.unknown


def _pointwise(call: Call) -> Labels:
    why = f"meets something of full width in {call.place}"
    return call.blend([call.operand(t) for t in call.tensors()], why)


@contextmanager
def _named(encoder: Encoder, flow: Flow) -> Iterator[None]:
    """Say in a graph what convolutions and linear layers return."""
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: flow.name(out, name))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let PyTorch's attention module run operation by operation, not as one kernel that no rule knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
