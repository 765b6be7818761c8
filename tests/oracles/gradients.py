"""Slow reference of the conflict-aware integration (PrunNet, CVPR 2025), filter by filter, on the gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def integrate_slowly(gradients: list[Tensor], alpha: float, protect_first: bool) -> Tensor:
    """Integrate the gradients of one parameter, the dense one first.

    Args:
        gradients: K gradients of the same shape.
        alpha: Exponent of the cosine weights.
        protect_first: The first gradient is never projected.
    """
    count = len(gradients)
    moved = [g.clone() for g in gradients]
    filters = list(range(gradients[0].shape[0])) if gradients[0].ndim == 4 else [slice(None)]
    for part in filters:
        for i in range(count):
            if protect_first and i == 0:
                continue
            for j in range(count):
                against = gradients[j][part]
                inner = (moved[i][part] * against).sum()
                if i != j and inner < 0:
                    moved[i][part] = moved[i][part] - inner / (against * against).sum() * against
    weights = []
    for before, after in zip(gradients, moved, strict=True):
        lengths = before.norm() * after.norm()
        cosine = float((before * after).sum() / lengths) if lengths > 0 else 1.0
        weights.append(((cosine + 1) / 2) ** alpha)
    total = sum(weights)
    return count * torch.stack([w / total * g for w, g in zip(weights, moved, strict=True)]).sum(0)
