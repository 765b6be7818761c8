"""Let every part of an encoder matter, so that trying it out speaks for what it will be after training."""

from __future__ import annotations

import torch
from torch import nn


def wake(module: nn.Module) -> None:
    """Give parameters that hardly do anything yet (layer scale, zero-initialised norms) something to do."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.is_floating_point() and parameter.numel() and float(parameter.abs().amax()) < 1e-3:
            fresh = torch.empty(parameter.shape).uniform_(0.2, 0.6, generator=generator)
            parameter.copy_(fresh * (1 if parameter.ndim < 2 else 0.1))
