"""The operations of one forward pass, as a network's code calls them, each with the module that it is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError

_HUGE = 1e9


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        module: Name of the module that it is in.
        name: What it is called.
        reads: The parameters and buffers that it reads.
    """

    module: str
    name: str
    reads: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in words."""
        read = f" (which reads {', '.join(self.reads)})" if self.reads else ""
        return f"{self.name}{read} in {self.module or 'the encoder'}"


@dataclass(frozen=True)
class Steps:
    """What ran in one forward pass.

    Attributes:
        steps: In their order.
        returned: The tensors that each step returned, if they were kept.
    """

    steps: list[Step]
    returned: list[list[Tensor]]


def steps_of(
    encoder: Encoder,
    pixels: Tensor,
    stack: list[tuple[str, str]],
    answer: bool | None = None,
    keep: bool = False,
) -> Steps:
    """Return the operations of one forward pass.

    Args:
        encoder: In eval mode.
        pixels: float32 [N, 3, H, W], raw RGB in 0..255, or the same on the meta device.
        stack: Its modules that run (`running`).
        answer: What the code is told when it asks whether a tensor is true; a real number it asks for is then very
            large or very small. None: the truth.
        keep: Whether to copy what each operation returns.
    """
    del stack[1:]  # what a pass before left that did not come to its end
    names = {id(t): name for name, t in [*encoder.named_parameters(), *encoder.named_buffers()]}
    recording = _Recording(names, stack, answer, keep)
    with recording:
        encoder.features(pixels)
    return recording.found


def check_alike(encoder: Encoder, first: Steps, other: Steps) -> None:
    """Make sure that two passes do the same.

    Raises:
        EncoderError: They do not; names the module and the operation.
    """
    only = set(other.steps) ^ set(first.steps)
    apart = [step for step in [*other.steps, *first.steps] if step in only]
    if apart:
        raise EncoderError(
            f"the backbone {type(encoder.backbone).__name__} cannot be cut: its forward depends on the batch or on the "
            f"pictures: {apart[0]} runs for some only; let it do the same for all"
        )


class _Recording(TorchFunctionMode):
    def __init__(
        self, names: dict[int, str], stack: Sequence[tuple[str, str]], answer: bool | None, keep: bool
    ) -> None:
        super().__init__()
        self.found = Steps([], [])
        self._names, self._stack, self._answer, self._keep = names, stack, answer, keep

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = tuple(self._names[id(t)] for t in _flat([*args, *kwargs.values()]) if id(t) in self._names)
        name = resolve_name(func) or getattr(func, "__name__", "something")
        out = func(*args, **kwargs)
        if not name.endswith("__get__"):  # shapes and the like
            self.found.steps.append(Step(self._stack[-1][0], name.removeprefix("torch."), read))
            if self._keep:
                self.found.returned.append([t.clone() for t in _flat([out]) if isinstance(t, Tensor)])
        if self._answer is not None and name.startswith("torch.Tensor."):
            if isinstance(out, bool) and name.endswith((".__bool__", ".item")):
                return self._answer
            if isinstance(out, float) and name.endswith((".__float__", ".item")):
                return _HUGE if self._answer else -_HUGE
        return out


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
