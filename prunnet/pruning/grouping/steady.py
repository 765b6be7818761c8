"""Make sure that one forward pass speaks for all: the same operations for every batch and picture."""

from __future__ import annotations

import torch

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping.deadline import Deadline, OverdueError, running
from prunnet.pruning.grouping.pictures import pictures
from prunnet.pruning.grouping.steps import Steps, check_alike, steps_of

_BATCHES = (2, 1, 33)
"""How many pictures forward passes get that are compared."""


def check_steady(encoder: Encoder, blueprint: Encoder, deadline: Deadline) -> None:
    """Run an encoder on several batches and pictures, mostly without computing anything.

    Args:
        encoder: In eval mode. A copy, as a forward pass may leave things behind in modules.
        blueprint: The same on the meta device, where a pass costs next to nothing. One that does not run there makes
            tensors itself or looks at values; then the encoder itself runs, on pictures of several kinds.
        deadline: When all passes must have ended.

    Raises:
        EncoderError: The forward does something else for another batch or picture; names the module and the operation.
    """
    with torch.inference_mode(False), torch.no_grad(), running(encoder, deadline) as stack:
        passes = _passes_on_meta(blueprint, deadline) or _passes(encoder, stack)
    first, *others = passes
    for other in others:
        check_alike(encoder, first, other)


def _passes_on_meta(blueprint: Encoder, deadline: Deadline) -> list[Steps]:
    """Return the steps of several passes; none if it does not run on the meta device."""
    size = blueprint.image_size
    try:
        with running(blueprint, deadline) as stack:
            batches = [torch.empty(n, 3, *size, device="meta") for n in _BATCHES]
            passes = [steps_of(blueprint, batch, stack) for batch in batches]
            if passes[0].steps != passes[1].steps:  # a first pass may fill what modules keep
                passes[0] = steps_of(blueprint, batches[0], stack)
            return passes
    except EncoderError:
        raise
    except Exception:  # whatever it says: there are no values to look at there
        return []


def _passes(encoder: Encoder, stack: list[tuple[str, str]]) -> list[Steps]:
    size = encoder.image_size
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    waves = pictures(size, 7)
    noise = 255 * torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    plain = torch.stack([torch.zeros(3, *size), torch.full((3, *size), 255.0)])
    batches = (waves[:2], waves[:1], plain[:1], plain[1:], noise, waves[2:])
    passes = [steps_of(encoder, batch.to(device), stack) for batch in batches]
    for answer in (False, True):
        try:
            passes.append(steps_of(encoder, waves[:2].to(device), stack, answer))
        except OverdueError:
            raise
        except Exception:  # a forward that ends there returns nothing that could be wrong
            continue
    return passes
