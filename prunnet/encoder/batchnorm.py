"""Deterministic re-estimation of BatchNorm statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunnet.errors import EncoderError
from prunnet.tensors import as_batch


@torch.no_grad()
def reestimate(module: nn.Module, images: Tensor, batch_size: int = 256) -> None:
    """Replace every BatchNorm's running statistics by the cumulative average over `images`, in their order.

    Args:
        module: Any encoder; its BatchNorm layers change in place, its mode is restored.
        images: uint8 [N, H, W, 3], RGB, un-augmented. The same images give the same statistics, bit for
            bit on as many threads.
        batch_size: Images per forward pass; a last batch of less than half of it is joined to the one before.

    Raises:
        EncoderError: Fewer than two images.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    if len(images) < 2:
        raise EncoderError(f"BatchNorm statistics need at least 2 calibration images, given {len(images)}")
    training = {m: m.training for m in module.modules()}
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    module.eval()
    for norm in norms:
        norm.train()
    batches = list(torch.split(images, batch_size))
    if len(batches) > 1 and len(batches[-1]) < batch_size / 2:
        batches[-2:] = [torch.cat(batches[-2:])]
    for batch in batches:
        module(as_batch(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for m, mode in training.items():
        m.training = mode
