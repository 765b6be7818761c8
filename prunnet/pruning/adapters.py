"""Corrections that belong to the subnetworks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from prunnet.encoder.aliases import aliases_of
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.rule import AdapterKind

DEGREE = 2
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
    * `switched`: BatchNorm's affine parameters alone, one correction for each trained capacity, as in slimmable
      networks; a capacity between takes that of the nearest, by what the trained ones achieve.

    Args:
        encoder: The dense encoder.
        kind: "smooth", "full" or "switched".
        capacities: What the trained capacities achieve, in their order, for "switched".

    Raises:
        EncoderError: Switched, without capacities.
    """

    def __init__(self, encoder: Encoder, kind: AdapterKind, capacities: Sequence[float] = ()) -> None:
        super().__init__()
        if kind == "switched" and not capacities:
            raise EncoderError(
                "switched adapters need the capacities that are trained; name them, or use 'smooth'"
            )
        self.switches = tuple(capacities) if kind == "switched" else None
        """What each trained capacity achieves, in the order of the corrections."""
        self._aliases = aliases_of(encoder)
        terms = len(capacities) if self.switches else DEGREE
        others = int(kind == "full")
        norms = {n for n, m in encoder.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
        self.corrections = nn.ParameterDict()
        for name, parameter in encoder.named_parameters():
            smooth = name == "head.project.weight" and not self.switches
            degree = terms if name.rpartition(".")[0] in norms or smooth else others
            if degree:
                self.corrections[name.replace(".", "/")] = nn.Parameter(torch.zeros(degree, *parameter.shape))

    def forward(self, tensors: Mapping[str, Tensor], capacity: float) -> dict[str, Tensor]:
        """Return the tensors with the corrections of one capacity added; differentiable.

        Args:
            tensors: Parameters, buffers or both of the dense encoder, by name; one that modules share may be there by
                each of its names.
            capacity: What the subnetwork achieves, in (0, 1).
        """
        factors = self._factors(capacity)
        result = dict(tensors)
        for key, correction in self.corrections.items():
            name = key.replace("/", ".")
            if name in tensors:
                # Most parameters have one term; of switched ones all but one are off.
                used = [k for k, factor in enumerate(factors[: len(correction)]) if factor]
                every = len(used) == len(correction)
                terms = correction.unbind() if every else [correction[k] for k in used]
                for k, term in zip(used, terms, strict=True):
                    result[name] = torch.add(result[name], term, alpha=factors[k])
        result.update({alias: result[name] for alias, name in self._aliases.items() if alias in tensors})
        return result

    @torch.no_grad()
    def round(self) -> None:
        """Make the corrections what a package ships, so that this is what is measured.

        They are rounded, and a switch that never learned takes over the nearest that did.
        """
        for correction in self.corrections.values():
            correction.copy_(correction.to(STORED))
        for k, nearest in self._borrowed().items():
            for correction in self.corrections.values():
                correction[k] = correction[nearest]

    def _borrowed(self) -> dict[int, int]:
        """Return which switch each one that never learned takes over."""
        switches = self.switches or ()
        learned = [
            k for k in range(len(switches)) if any(bool(c[k].any()) for c in self.corrections.values())
        ]
        return {
            k: min(learned, key=lambda other: abs(switches[other] - achieved))
            for k, achieved in enumerate(switches)
            if learned and k not in learned
        }

    def _factors(self, capacity: float) -> list[float]:
        if self.switches is None:
            return [(1 - capacity) ** k for k in range(1, DEGREE + 1)]
        apart = [abs(achieved - capacity) for achieved in self.switches]
        nearest = apart.index(min(apart))  # trained capacities that achieve the same are one subnetwork
        return [float(k == nearest) for k in range(len(apart))]
