"""What makes the processes of `torchrun` train as one process on the joined batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.overrides import TorchFunctionMode


@contextmanager
def joined_statistics() -> Iterator[None]:
    """Let every BatchNorm that trains in this context take its statistics over the processes' batches joined.

    Works for any module that calls `torch.nn.functional.batch_norm`, the masked and the sliced subnetworks' included,
    on CPU and GPU (torch's own SyncBatchNorm refuses CPU tensors). No module is replaced: what is extracted or saved
    holds plain BatchNorm. With one process nothing changes.

    Every process must run the same norms in the same order, forward and backward.
    """
    if not dist.is_initialized():
        yield
        return
    with _Joined():
        yield


def share(count: int, device: torch.device) -> float:
    """Return what a process's mean loss over `count` images must be multiplied by, 1 where all have as many.

    The mean over the processes of losses so weighted is the mean over the joined batch, and so are their gradients.
    """
    if not dist.is_initialized():
        return 1.0
    total = torch.tensor(float(count), device=device)
    dist.all_reduce(total)
    return count * dist.get_world_size() / float(total)


def average(tensors: list[Tensor]) -> None:
    """Replace tensors by their means over the processes, in one message."""
    if not dist.is_initialized() or not tensors:
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


class _Joined(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Stand in for `torch.nn.functional.batch_norm`, whose parameters these are."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count, mean, squares = _joint_moments(input.detach())
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((squares / (count - 1)).to(running_var.dtype), momentum)
    inverse_std = (squares / count + eps).rsqrt()
    normal = cast(Tensor, _Normalise.apply(input, count, mean, inverse_std))  # type: ignore[no-untyped-call]
    if weight is not None:
        normal = normal * _column(weight, normal)
    if bias is not None:
        normal = normal + _column(bias, normal)
    return normal.to(input.dtype)


def _joint_moments(input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values per channel [], mean [C] and summed squared distance to it [C] over all processes, wide.

    Moments are joined pairwise by their means' distances, as accurate as one pass over the joined batch; sums of
    squares would cancel.
    """
    variance, mean = torch.var_mean(_wide(input), _others(input), correction=0)
    values = input.numel() // input.shape[1]
    own = torch.cat([mean, variance * values, mean.new_tensor([values])])
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    means, squares, counts = torch.split(torch.stack(found), [len(mean), len(mean), 1], dim=1)
    count = counts.sum()
    joint = (means * counts).sum(0) / count
    return count, joint, (squares + (means - joint).square() * counts).sum(0)


class _Normalise(torch.autograd.Function):
    """(input - mean) * inverse_std, wide, differentiated through the joint statistics."""

    @staticmethod
    def forward(ctx: FunctionCtx, input: Tensor, count: Tensor, mean: Tensor, inverse_std: Tensor) -> Tensor:
        normal = (_wide(input) - _column(mean, input)) * _column(inverse_std, input)
        ctx.save_for_backward(normal, count, inverse_std)
        ctx.dtype = input.dtype  # type: ignore[attr-defined]
        return normal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        normal, count, inverse_std = ctx.saved_tensors
        sums = torch.stack([gradient.sum(_others(gradient)), (gradient * normal).sum(_others(gradient))])
        dist.all_reduce(sums)
        along, across = sums / count
        moved = gradient - _column(along, gradient) - normal * _column(across, gradient)
        return (moved * _column(inverse_std, gradient)).to(ctx.dtype), None, None, None


def _wide(values: Tensor) -> Tensor:
    """Return the values in float32 at least: statistics in bf16 would be wrong in the third digit."""
    return values if values.dtype == torch.float64 else values.float()


def _others(values: Tensor) -> list[int]:
    return [d for d in range(values.ndim) if d != 1]


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.ndim - 2))
