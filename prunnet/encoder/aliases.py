"""Further names of what modules share."""

from __future__ import annotations

from torch import nn


def aliases_of(module: nn.Module) -> dict[str, str]:
    """Return the further names of parameters that modules share: name -> the first name of the same parameter."""
    first = {id(p): name for name, p in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first[id(p)] for name, p in every if first[id(p)] != name}
