"""Try what a training step runs, before the first one: forward in training mode, and backward."""

from __future__ import annotations

import copy
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping.deadline import Deadline, OverdueError, running
from prunnet.pruning.grouping.pictures import pictures
from prunnet.pruning.prunable import PrunableEncoder

SECONDS = 25.0
"""How long the trial may take, seconds of work."""
Precision = Callable[[Tensor], AbstractContextManager[object]]


def check_trains(prunable: PrunableEncoder, capacities: Sequence[float], precision: Precision) -> None:
    """Run the dense encoder and its smallest subnetwork on two pictures, as a training step does.

    A copy runs: nothing of the encoder changes, nor do random numbers that are drawn later.

    Args:
        prunable: The encoder that is going to be trained.
        capacities: Subnetworks that are going to be trained, ascending; may be empty.
        precision: The context in which a step's passes on some pixels run.

    Raises:
        EncoderError: A pass fails in training mode, no gradient can be taken, or it takes too long; names the module.
    """
    device = next(prunable.encoder.parameters()).device
    with _same_random_numbers(device), torch.inference_mode(False), torch.enable_grad():
        trial = copy.deepcopy(prunable).train()
        parameters = dict(trial.encoder.named_parameters())
        sources = [p for p in trial.parameters() if p.requires_grad]
        pixels = pictures(trial.encoder.image_size, 2).to(device)
        if trial.encoder.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        deadline = Deadline(SECONDS, "a training step on two pictures", "use smaller images")

        def dense() -> Tensor:
            return trial.encoder.features(pixels)

        def narrowest() -> Tensor:
            return trial.features_at(capacities[0], pixels, parameters)

        with precision(pixels):
            _try("the encoder", trial.encoder, dense, sources, deadline)
            if capacities:
                part = f"its subnetwork of capacity {capacities[0]:g}"
                _try(part, trial.trained(capacities[0]), narrowest, sources, deadline)


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _try(
    part: str, module: Encoder, run: Callable[[], Tensor], sources: Sequence[Tensor], deadline: Deadline
) -> None:
    """Run one pass forward and backward.

    Args:
        part: What runs, in words.
        module: What runs.
        run: Runs it; returns float32 [2, D].
        sources: What gradients are taken of.
        deadline: When it must have ended.
    """
    returned: list[tuple[tuple[str, str], Tensor]] = []
    with _kept(module, returned), running(module, deadline) as stack, warnings.catch_warnings():
        # torch only warns of a checkpointed part from which no gradient comes back.
        warnings.filterwarnings("error", "None of the inputs have requires_grad=True")
        at = "forward"
        try:
            out = run().square().sum()
            at = "backward"
            torch.autograd.grad(out, sources, allow_unused=True, retain_graph=True)
        except OverdueError:
            raise
        except Exception as error:  # a user's modules fail as they like
            place = stack[-1] if at == "forward" else _first_without_gradient(returned, sources, stack[0])
            raise EncoderError(_said(part, type(module.backbone).__name__, at, place, error)) from error


@contextmanager
def _kept(module: Encoder, returned: list[tuple[tuple[str, str], Tensor]]) -> Iterator[None]:
    """Keep what each module returns, in the order in which they end; refuse a backbone that returns no tensor."""
    hooks = []

    def keep(entry: tuple[str, str], out: object) -> None:
        if isinstance(out, Tensor):
            returned.append((entry, out))
        elif entry[0] == "backbone":
            raise TypeError(f"it returns a {type(out).__name__} in training mode, not a tensor")

    for name, each in module.named_modules():
        entry = (name, type(each).__name__)
        hooks.append(each.register_forward_hook(lambda _, __, out, entry=entry: keep(entry, out)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _first_without_gradient(
    returned: Sequence[tuple[tuple[str, str], Tensor]], sources: Sequence[Tensor], encoder: tuple[str, str]
) -> tuple[str, str]:
    """Return the first module from whose output no gradient can be taken; the encoder itself if it is none."""
    for entry, out in returned:
        if out.requires_grad:
            try:
                torch.autograd.grad(out.sum(), sources, allow_unused=True, retain_graph=True)
            except Exception:  # it is the fault that is looked for, wherever else it shows
                return entry
    return encoder


def _said(part: str, kind: str, at: str, place: tuple[str, str], error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
    files = [frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)]
    if any(name.endswith("torch/utils/checkpoint.py") for name in files) or "checkpoint" in text.lower():
        remedy = "leave out torch.utils.checkpoint (gradient checkpointing), as subnetworks share one set of weights"
    elif "inplace operation" in text or "in-place" in text:
        remedy = "do not write into what a gradient needs: x = x + y instead of x += y, inplace=False"
    else:
        remedy = "let it run in training mode as it does in eval mode, with gradients"
    where = f"the module {place[0] or 'encoder'} ({place[1]})"
    return (
        f"the backbone {kind} cannot be trained: {part} fails in the {at} pass, in {where}: {text}; {remedy}"
    )
