"""What a network computes, operation by operation, as text that stays the same from machine to machine.

Weights alone do not say it: SiLU and ReLU, two strides, two epsilons share every tensor. One forward pass is watched at
the level of ATen, so it makes no difference whether an operation is a module, a function or a method.
"""

from __future__ import annotations

import copy
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from prunnet.encoder.constants import Constants, different_constants, is_constant
from prunnet.errors import first_of

_SHAPELESS = frozenset(
    ["view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "expand", "expand_as"]
)
_SHAPELESS |= frozenset(["detach", "alias", "clone", "contiguous", "_to_copy", "lift_fresh"])
_SHAPELESS |= frozenset(["empty", "empty_like", "empty_strided", "copy"])
"""Operations that compute nothing, and that torch's releases and equal spellings of one network use differently."""

_IGNORED = frozenset(
    [
        "momentum",
        "keepdim",
        "dtype",
        "layout",
        "device",
        "pin_memory",
        "memory_format",
        "cudnn_enabled",
        "inplace",
    ]
)
"""Arguments that change no value of an embedding, or only where it is kept."""

_REDUCTIONS = frozenset(
    ["mean", "sum", "amax", "amin", "var", "std", "norm", "linalg_vector_norm", "logsumexp"]
)

SHOWN = 3
"""Differences that a message lists."""


def computation_of(encoder: nn.Module, height: int, width: int) -> tuple[str, ...]:
    """Return the operations of one forward pass in eval mode, in their order.

    In-place and plain operations are the same, so are modules and functions. Operations that only give a tensor another
    shape, dropout at rest and arguments with their default value are left out.

    Args:
        encoder: Maps float32 [1, 3, height, width] to an embedding; it is copied, never changed.
        height: Of the input, pixels.
        width: Of the input, pixels.

    Returns:
        A line for each operation: the module that runs it (empty for the encoder itself), a colon, and the operation
        with its arguments, e.g. "backbone.conv1: convolution(stride=[2, 2], padding=[1, 1])". Before an operation that
        reads a tensor which neither the state dict nor the pass made, a line that says what that holds
        (`prunnet.encoder.constants`).
    """
    # What earlier passes left in modules is forgotten when training begins.
    watched = copy.deepcopy(encoder).cpu().train().eval()
    inside: list[str] = []
    for name, module in watched.named_modules():
        if name and not isinstance(module, torch.jit.ScriptModule):
            module.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
            module.register_forward_hook(lambda *_: inside.pop() and None)
    grey = torch.full((1, 3, height, width), 127.0)
    watch = _Watch(
        inside, Constants([grey, *watched.parameters(), *watched.state_dict(keep_vars=True).values()])
    )
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), watch:
        watched(grey)
    return tuple(watch.lines)


def operations(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the operations, without constants and without their modules' names, which a user may change."""
    return tuple(line.partition(": ")[2] for line in lines if not is_constant(line))


def differences(found: tuple[str, ...], stored: tuple[str, ...]) -> list[str]:
    """Describe in words where two computations differ; none if they are the same.

    Args:
        found: Lines of the network that was built.
        stored: Lines of the network that the package was made with.
    """
    here, there = operations(found), operations(stored)
    if here == there:
        return different_constants(found, stored)
    found, stored = (tuple(line for line in lines if not is_constant(line)) for lines in (found, stored))
    said = []
    for kind, a, b, c, d in SequenceMatcher(None, here, there, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        paired = min(b - a, d - c)
        for i in range(paired):
            where = found[a + i].partition(": ")[0] or "the encoder"
            said.append(f"{where} computes {here[a + i]}, the package was made with {there[c + i]}")
        for line in found[a + paired : b]:
            where, _, what = line.partition(": ")
            said.append(f"{where or 'the encoder'} computes {what}, the package was made without")
        for line in stored[c + paired : d]:
            where, _, what = line.partition(": ")
            said.append(f"{what} is missing, which the package was made with ({where or 'the encoder'})")
    return said


def listed(said: list[str]) -> str:
    """Return the first few differences as one text, with the number of the others."""
    return first_of(said, SHOWN, "; ")


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every ATen operation that runs."""

    def __init__(self, inside: list[str], constants: Constants) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inside, self._constants = inside, constants
        self.lines: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        name = name.rstrip("_") or name
        module = self._inside[-1] if self._inside else ""
        self.lines += [f"{module}: {said}" for said in self._constants.first_read([args, kwargs])]
        if name not in _SHAPELESS:
            self.lines.append(f"{module}: {name}({_arguments(name, func, args, kwargs or {})})")
        out = func(*args, **(kwargs or {}))
        self._constants.made(out)
        return out


def _arguments(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the arguments that are no tensors and not their defaults, as "name=value"."""
    rank = next((a.ndim for a in args if isinstance(a, Tensor)), 0)
    said = []
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
        if argument.name in _IGNORED or not _is_plain(value):
            continue
        if argument.has_default_value() and value == argument.default_value:
            continue
        if argument.name in ("dim", "dims") and value is not None:
            value = _counted_from_the_front(value, rank, sort=name in _REDUCTIONS)
        said.append(f"{argument.name}={value!r}")
    return ", ".join(said)


def _counted_from_the_front(value: Any, rank: int, sort: bool) -> Any:
    if isinstance(value, int):
        return value % rank if rank else value
    places = [each % rank if rank else each for each in value]
    return sorted(places) if sort else places


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value)) and bool(value)
    return isinstance(value, bool | int | float | str)
