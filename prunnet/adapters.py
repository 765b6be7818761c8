"""Corrections that belong to the subnetworks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from prunnet.encoder import Encoder
from prunnet.errors import EncoderError

AdapterKind = Literal["none", "smooth", "full", "curved", "switched"]
DEGREE = 2
CURVE = 5
"""Learned values of a curve, at capacities 0, 1/5 .. 4/5; between them it is straight, and at 1 it is zero."""
STORED = torch.float16
"""Precision of corrections in an encoder package: a rounding of 2^-11 of what is itself a small difference."""


class Adapters(nn.Module):
    """Lets single parameters follow the capacity, without touching the dense encoder.

    A subnetwork of capacity c uses `p + sum_k f_k(c) A_k` in place of each such parameter p. At c = 1 the correction
    is zero, so the dense encoder never feels it. Extraction adds it in: a subnetwork has neither more parameters nor
    more operations.

    * `smooth`: BatchNorm's affine parameters and the projector, with `f_k = (1 - c)^k`, k = 1..2. Being smooth in c, it
      serves capacities that were never trained.
    * `full`: the same, and every other parameter with k = 1: the subnetworks share weights of their own, which start at
      the dense encoder's, so that they can learn while it rests.
    * `curved`: as full, with `f_1` a curve that each parameter learns for its correction. It starts at `1 - c`.
    * `switched`: BatchNorm's affine parameters alone, one correction for each trained capacity, as in slimmable
      networks; a capacity between takes that of the nearest.

    Args:
        encoder: The dense encoder.
        kind: "smooth", "full", "curved" or "switched".
        capacities: The trained capacities, for "switched".

    Raises:
        EncoderError: Switched, without capacities.
    """

    def __init__(self, encoder: Encoder, kind: AdapterKind, capacities: Sequence[float] = ()) -> None:
        super().__init__()
        if kind == "switched" and not capacities:
            raise EncoderError(
                "switched adapters need the capacities that are trained; name them, or use 'smooth'"
            )
        self._switches = tuple(capacities) if kind == "switched" else None
        terms = len(capacities) if self._switches else DEGREE
        others = int(kind in ("full", "curved"))
        norms = {n for n, m in encoder.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
        self.corrections = nn.ParameterDict()
        for name, parameter in encoder.named_parameters():
            smooth = name == "head.project.weight" and not self._switches
            degree = terms if name.rpartition(".")[0] in norms or smooth else others
            if degree:
                self.corrections[name.replace(".", "/")] = nn.Parameter(torch.zeros(degree, *parameter.shape))
        start = 1 - torch.arange(CURVE) / CURVE
        curved = self.corrections if kind == "curved" else ()
        self.curves = nn.ParameterDict({key: nn.Parameter(start.clone()) for key in curved})

    def forward(self, tensors: Mapping[str, Tensor], capacity: float) -> dict[str, Tensor]:
        """Return the tensors with the corrections of one capacity added; differentiable.

        Args:
            tensors: Parameters, buffers or both of the dense encoder, by name.
            capacity: In (0, 1).
        """
        factors = self._factors(capacity)
        result = dict(tensors)
        for key, correction in self.corrections.items():
            name = key.replace("/", ".")
            if name in tensors:
                curve = [_on_curve(self.curves[key], capacity)] if key in self.curves else factors[:1]
                for factor, term in zip(
                    [*curve, *factors[1:]], correction, strict=False
                ):  # most have one term
                    result[name] = result[name] + factor * term
        return result

    @torch.no_grad()
    def round(self) -> None:
        """Round all to what a package stores, so that what is measured is what is shipped."""
        for parameter in self.parameters():
            parameter.copy_(parameter.to(STORED))

    def _factors(self, capacity: float) -> list[float]:
        if self._switches is None:
            return [(1 - capacity) ** k for k in range(1, DEGREE + 1)]
        nearest = min(self._switches, key=lambda c: abs(c - capacity))
        return [float(c == nearest) for c in self._switches]


def _on_curve(values: Tensor, capacity: float) -> Tensor:
    """Return the value of a curve at a capacity in (0, 1], float32 []; zero at 1."""
    place = min(CURVE * capacity, CURVE)
    before = min(int(place), CURVE - 1)
    share = place - before
    value = (1 - share) * values[before]
    return value + share * values[before + 1] if before + 1 < CURVE else value
