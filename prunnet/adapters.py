"""Small corrections that belong to the subnetworks alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunnet.encoder import Encoder

DEGREE = 2


class Adapters(nn.Module):
    """Lets BatchNorm's affine parameters and the projector follow the capacity, without touching the dense encoder.

    A subnetwork of capacity c uses `p + sum_k (1 - c)^k A_k`, k = 1..2, in place of each such parameter p. At c = 1 the
    correction is zero, so the dense encoder never feels it; being smooth in c, it serves capacities that were never
    trained. Extraction adds it in: a subnetwork has neither more parameters nor more operations.

    SwitchNet and the slimmable networks keep one BatchNorm per width for the same reason, at the widths they trained.

    Args:
        encoder: The dense encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        norms = {n for n, m in encoder.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
        self.corrections = nn.ParameterDict()
        for name, parameter in encoder.named_parameters():
            if name.rpartition(".")[0] in norms or name == "head.project.weight":
                self.corrections[name.replace(".", "/")] = nn.Parameter(torch.zeros(DEGREE, *parameter.shape))

    def forward(self, tensors: Mapping[str, Tensor], capacity: float) -> dict[str, Tensor]:
        """Return the tensors with the corrections of one capacity added; differentiable.

        Args:
            tensors: Parameters, buffers or both of the dense encoder, by name.
            capacity: In (0, 1).
        """
        result = dict(tensors)
        for key, correction in self.corrections.items():
            name = key.replace("/", ".")
            if name in tensors:
                powers = torch.tensor(
                    [(1 - capacity) ** k for k in range(1, DEGREE + 1)], device=correction.device
                )
                result[name] = tensors[name] + torch.tensordot(powers.to(correction.dtype), correction, 1)
        return result
