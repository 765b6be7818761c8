"""Make sure that an embedding is of its picture alone: of nothing that ran before it, and of nothing beside it.

A server embeds in batches, a device one picture at a time. A network that mixes the pictures of a batch would be
another function on each.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping.deadline import Deadline, OverdueError, running
from prunnet.pruning.grouping.pictures import pictures
from prunnet.pruning.grouping.shape import fresh
from prunnet.pruning.grouping.steps import Steps, check_alike, steps_of
from prunnet.pruning.grouping.waking import wake
from prunnet.torch_fixes.compiler import compiler_put_off

SECONDS = 25.0
"""How long trying may take, seconds."""
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Largest difference, relative to the largest entry, of passes that are alike; other batch sizes round anew."""
_COARSE = 1e-2
"""The same where float64 cannot tell: more than a forward in 16 bits rounds."""
_TINY = 1e-30


@compiler_put_off()
def check_alone(encoder: Encoder) -> None:
    """Embed a picture alone and beside another one; a copy runs, in eval mode.

    Raises:
        EncoderError: It cannot be copied, does not run, takes too long, remembers something, returns NaN, or mixes the
            pictures of a batch; names the module.
    """
    deadline = Deadline(SECONDS, "trying the encoder on two pictures", "use smaller images")
    with torch.inference_mode(False), torch.no_grad():
        trial = _Trial(_copied(encoder), deadline)
        wake(trial.encoder)
        beside = trial.run(2)
        if not beside.isfinite().all():  # perhaps only since it was woken
            trial = _Trial(_copied(encoder), deadline)
            beside = trial.run(2)
            if not beside.isfinite().all():
                raise EncoderError(
                    f"the backbone {trial.kind} cannot be cut: what it returns for a picture is not finite (NaN or "
                    "infinite)"
                )
        before = {name: buffer.clone() for name, buffer in trial.encoder.named_buffers()}
        alone = trial.run(1)
        trial.check_buffers(before)
        difference = _difference(alone, beside[:1])
        if difference > _ROUNDING[torch.float32]:
            again = _difference(alone, trial.run(1))
            if again > _ROUNDING[torch.float32]:
                raise EncoderError(
                    f"the backbone {trial.kind} cannot be cut: a copy of it does not compute what it computes, nor "
                    f"does it itself the second time (it differs by {again:.2g}); its forward must be the same each "
                    "time in eval mode"
                )
            _check_mixing(trial, difference)


def _check_mixing(trial: _Trial, difference: float) -> None:
    """Tell mixing from rounding, and say where it begins."""
    first, other = trial.steps(1), trial.steps(2)
    check_alike(trial.encoder, first, other)
    exact = trial.exact()
    try:
        found = _difference(exact.run(1), exact.run(2)[:1])
        allowed = _ROUNDING[torch.float64]
        first, other = exact.steps(1), exact.steps(2)
    except OverdueError:
        raise
    except EncoderError:  # its forward insists on float32
        found, allowed = difference, _COARSE
    if found > allowed:
        raise EncoderError(
            f"the backbone {trial.kind} mixes the pictures of a batch: what it returns for one changes with what is "
            f"beside it (by {found:.2g}), from {_first_mixed(first, other)} on; a device embeds one picture at a time: "
            "use running statistics (track_running_stats=True, eval mode), or normalise each picture by itself"
        )


def _first_mixed(alone: Steps, beside: Steps) -> str:
    """Return the first operation whose result for a picture is another one beside others, and its module."""
    for step, one, two in zip(alone.steps, alone.returned, beside.returned, strict=False):
        if not all(_holds(b, a) for a, b in zip(one, two, strict=False)):
            return f"{step.name} in {step.module or 'the encoder'}"
    return "an operation that PyTorch does not show"


def _holds(beside: Tensor, alone: Tensor) -> bool:
    """Say whether what an operation returned for two pictures holds what it returned for the first alone."""
    if beside.shape == alone.shape:
        return _difference(alone, beside) <= _ROUNDING[torch.float32]
    if beside.ndim != alone.ndim or beside.numel() != 2 * alone.numel():
        return True  # it says how many there are: a shape, or a picture of its own in a loop
    dim = next(i for i in range(alone.ndim) if beside.shape[i] != alone.shape[i])
    size = alone.shape[dim]
    before, after = beside.shape[:dim], beside.shape[dim + 1 :]
    outer, inner = beside.reshape(*before, 2, size, *after), beside.reshape(*before, size, 2, *after)
    parts = (outer.select(dim, 0), inner.select(dim + 1, 0))
    return any(_difference(alone, part) <= _ROUNDING[torch.float32] for part in parts)


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference relative to the largest entry; infinite where only one of them is not finite."""
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    one, other = one.to(torch.float64), other.to(torch.float64)
    finite = one.isfinite()
    if not torch.equal(finite, other.isfinite()):
        return float("inf")
    one, other = one.where(finite, 0), other.where(finite, 0)
    return float((one - other).abs().max() / other.abs().max().clamp(min=_TINY))


def _copied(encoder: Encoder) -> Encoder:
    try:
        return fresh(copy.deepcopy(encoder))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"the backbone {type(encoder.backbone).__name__} cannot be copied (copy.deepcopy): {error}"
        ) from error


class _Trial:
    """A copy of an encoder, and pictures to run it on."""

    def __init__(self, encoder: Encoder, deadline: Deadline, dtype: torch.dtype = torch.float32) -> None:
        self.encoder, self.kind, self._deadline = encoder, type(encoder.backbone).__name__, deadline
        device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
        faint, strong = pictures(encoder.image_size, 2)
        # The largest and the smallest value of a batch are then always the second picture's.
        self._pixels = torch.stack([96 + faint / 4, 255.0 * (strong > 128)]).to(device, dtype)

    def exact(self) -> _Trial:
        """Return the same in float64."""
        return _Trial(fresh(copy.deepcopy(self.encoder)).double(), self._deadline, torch.float64)

    def run(self, count: int) -> Tensor:
        """Return the embeddings of the first pictures before their normalisation, float32 or float64 [count, D]."""
        pixels = self._pixels[:count]
        with running(self.encoder, self._deadline) as stack:
            try:
                return self.encoder.features(pixels)
            except EncoderError:
                raise
            except Exception as error:  # whatever a user's forward raises
                raise EncoderError(
                    f"the module {stack[-1][0] or 'encoder'} ({stack[-1][1]}) does not run on float32 "
                    f"{list(pixels.shape)}: {type(error).__name__}: {error}"
                ) from error

    def steps(self, count: int) -> Steps:
        """Return what runs on the first pictures."""
        with running(self.encoder, self._deadline) as stack:
            return steps_of(self.encoder, self._pixels[:count], stack, keep=True)

    def check_buffers(self, before: dict[str, Tensor]) -> None:
        """Make sure that a pass has left the buffers as they were."""
        for name, buffer in self.encoder.named_buffers():
            old = before.get(name)
            if (
                old is None
                or old.shape != buffer.shape
                or not torch.equal(old.nan_to_num(), buffer.nan_to_num())
            ):
                raise EncoderError(
                    f"the backbone {self.kind} cannot be cut: its forward changes the buffer {name} in eval mode; let "
                    "it do so in training mode only"
                )
