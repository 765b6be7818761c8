"""Make sure that one forward pass speaks for all: the same operations for every batch and picture, and no memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping.deadline import Deadline, OverdueError, running
from prunnet.pruning.grouping.pictures import pictures

_BATCHES = (2, 1, 33)
"""How many pictures forward passes get that are compared."""
_HUGE = 1e9
_TOLERANCE = 1e-4
"""Largest difference, relative to the largest entry, of two passes that are alike."""


Step = tuple[str, str, tuple[str, ...]]
"""One operation: the module it is in, what it is called, and the parameters and buffers that it reads."""


def check_steady(encoder: Encoder, blueprint: Encoder, deadline: Deadline) -> None:
    """Run an encoder on several batches and pictures, mostly without computing anything.

    Args:
        encoder: In eval mode. A copy, as a forward pass may leave things behind in modules.
        blueprint: The same on the meta device, where a pass costs next to nothing. One that does not run there makes
            tensors itself or looks at values; then the encoder itself runs, on pictures of several kinds.
        deadline: When all passes must have ended.

    Raises:
        EncoderError: The forward remembers something, or does something else for another batch or picture; names the
            module and the operation.
    """
    with torch.inference_mode(False), torch.no_grad(), running(encoder, deadline) as stack:
        _check_memory(encoder)
        passes = _passes_on_meta(blueprint, deadline) or _passes(encoder, stack)
    first, *others = passes
    kind = type(encoder.backbone).__name__
    for other in others:
        only = set(other) ^ set(first)
        apart = [step for step in [*other, *first] if step in only]
        if apart:
            raise EncoderError(
                f"the backbone {kind} cannot be cut: its forward depends on the batch or on the pictures: "
                f"{_said(apart[0])} runs for some only; let it do the same for all"
            )


def _said(step: Step) -> str:
    module, name, tensors = step
    read = f" (which reads {', '.join(tensors)})" if tensors else ""
    return f"{name}{read} in {module or 'the encoder'}"


def _check_memory(encoder: Encoder) -> None:
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    pixels = pictures(encoder.image_size, 1).to(device)
    kind = type(encoder.backbone).__name__
    first = encoder.features(pixels)
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    again = encoder.features(pixels)
    for name, buffer in encoder.named_buffers():
        old = before.get(name)
        if old is None or old.shape != buffer.shape or not torch.equal(old.nan_to_num(), buffer.nan_to_num()):
            raise EncoderError(
                f"the backbone {kind} cannot be cut: its forward changes the buffer {name} in eval mode; let it do so "
                "in training mode only"
            )
    if not first.isfinite().all():
        raise EncoderError(
            f"the backbone {kind} cannot be cut: what it returns for a picture is not finite (NaN or infinite)"
        )
    difference = float((first - again).abs().max() / first.abs().max().clamp(min=1))
    if difference > _TOLERANCE:
        raise EncoderError(
            f"the backbone {kind} cannot be cut: a copy of it does not compute what it computes, nor does it itself "
            f"the second time (it differs by {difference:.2g}); its forward must be the same each time in eval mode"
        )


def _passes_on_meta(blueprint: Encoder, deadline: Deadline) -> list[list[Step]]:
    """Return the steps of several passes; none if it does not run on the meta device."""
    size = blueprint.image_size
    try:
        with running(blueprint, deadline) as stack:
            batches = [torch.empty(n, 3, *size, device="meta") for n in _BATCHES]
            passes = [_steps(blueprint, batch, stack) for batch in batches]
            if passes[0] != passes[1]:  # a first pass may fill what modules keep
                passes[0] = _steps(blueprint, batches[0], stack)
            return passes
    except EncoderError:
        raise
    except Exception:  # whatever it says: there are no values to look at there
        return []


def _passes(encoder: Encoder, stack: list[tuple[str, str]]) -> list[list[Step]]:
    size = encoder.image_size
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    waves = pictures(size, 7)
    noise = 255 * torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    plain = torch.stack([torch.zeros(3, *size), torch.full((3, *size), 255.0)])
    batches = (waves[:2], waves[:1], plain[:1], plain[1:], noise, waves[2:])
    passes = [_steps(encoder, batch.to(device), stack) for batch in batches]
    for answer in (False, True):
        try:
            passes.append(_steps(encoder, waves[:2].to(device), stack, answer))
        except OverdueError:
            raise
        except Exception:  # a forward that ends there returns nothing that could be wrong
            continue
    return passes


def _steps(
    encoder: Encoder, pixels: Tensor, stack: list[tuple[str, str]], answer: bool | None = None
) -> list[Step]:
    """Return the operations of one forward pass, as the code calls them.

    Args:
        encoder: In eval mode.
        pixels: float32 [N, 3, H, W], raw RGB in 0..255, or the same on the meta device.
        stack: Its modules that run (`running`).
        answer: What the code is told when it asks whether a tensor is true; a real number it asks for is then very
            large or very small. None: the truth.
    """
    del stack[1:]  # what a pass before left that did not come to its end
    names = {id(t): name for name, t in [*encoder.named_parameters(), *encoder.named_buffers()]}
    recording = _Recording(names, stack, answer)
    with recording:
        encoder.features(pixels)
    return recording.steps


class _Recording(TorchFunctionMode):
    def __init__(self, names: dict[int, str], stack: Sequence[tuple[str, str]], answer: bool | None) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._names, self._stack, self._answer = names, stack, answer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = tuple(self._names[id(t)] for t in _flat([*args, *kwargs.values()]) if id(t) in self._names)
        name = resolve_name(func) or getattr(func, "__name__", "something")
        if not name.endswith("__get__"):  # shapes and the like
            self.steps.append((self._stack[-1][0], name.removeprefix("torch."), read))
        out = func(*args, **kwargs)
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
