"""Granularity `weight`: masks inside the tensors, as in PrunNet (CVPR 2025)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prunnet.encoder.aliases import aliases_of
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.capacity import Widths, stretches
from prunnet.pruning.grouping.shape import on_meta
from prunnet.pruning.ranking import Ranked
from prunnet.pruning.rule import CutRule

_GRID = tuple(i / 100 for i in range(1, 101))


class WeightCut:
    """Masks single weights by learned scores of the same shape.

    In the paper every layer keeps the same ratio. With an exponent b > 0 a layer of `n` weights keeps
    `min(n, r n (N / n)^b)`, N those of the largest layer, and one ratio r says what all of them keep. Small layers lose
    most, so they are cut later; 0.5 is close to the Erdos-Renyi densities of sparse training (Evci et al., ICML 2020).

    Args:
        encoder: The dense encoder. Weights of the backbone's convolutions and linear layers are prunable; projector,
            classifier, normalisations and biases are not.
        rule: Its `spare_narrow` is the exponent b; its `keep_factors` are factors on what single layers keep
            (`prunnet.pruning.capacity.stretches`).

    Raises:
        EncoderError: The backbone has no convolution or linear layer, or an option does not fit it.
    """

    granularity = "weight"

    def __init__(self, encoder: Encoder, rule: CutRule) -> None:
        names = dict(encoder.named_parameters())
        layers_of = {
            f"backbone.{name}": module
            for name, module in encoder.backbone.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        }
        self.shapes = {
            f"{name}.weight": tuple(module.weight.shape)
            for name, module in layers_of.items()
            if f"{name}.weight" in names
        }
        if not self.shapes:
            raise EncoderError(
                "the backbone has no convolution or linear layer with a weight of its own to prune"
            )
        self.fixed = {"head": "projector and classifier are never pruned", "normalisations": "never pruned"}
        self._aliases = aliases_of(encoder)
        for name, module in layers_of.items():
            if f"{name}.weight" not in {**names, **self._aliases}:
                self.fixed[name] = (
                    f"the weight of this {type(module).__name__} is computed from other tensors"
                )
        self._blueprint = on_meta(encoder)
        self._ranked = Ranked()
        self._sizes = {name: torch.Size(shape).numel() for name, shape in self.shapes.items()}
        self._total = sum(self._sizes.values())
        layers = {name.removesuffix(".weight"): size for name, size in self._sizes.items()}
        self._stretch = dict(
            zip(self._sizes, stretches(layers, rule.spare_narrow, rule.keep_factors), strict=True)
        )
        # What all layers keep grows piecewise linearly with the ratio; it bends where one has nothing left to give.
        self._ratios = np.array([0.0, *sorted({1 / stretch for stretch in self._stretch.values()})])
        self._kept_at = np.array([sum(self._share(n, r) for n in self._sizes) for r in self._ratios])
        # Each tensor keeps a weight at least, which in a very small network is more than some capacities allow.
        self._capacities = tuple(c for c in _GRID if sum(self._counts(c)) <= c * self._total + 1e-6)

    def new_scores(self) -> nn.ParameterDict:
        """Return fresh scores of each weight's shape, float32, Kaiming-uniform with a = sqrt(5)."""
        scores = nn.ParameterDict()
        for name, shape in self.shapes.items():
            scores[_key(name)] = nn.Parameter(torch.empty(shape))
            nn.init.kaiming_uniform_(scores[_key(name)], a=5**0.5)
        return scores

    def magnitude_scores(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return scores that rank by magnitude: `(w - mean w) * sqrt(2 / fan_in) / std w`; 0 for a weight alone."""
        scores = {}
        for name in self.shapes:
            w = tensors[name].detach()
            fan_in = w[0].numel()
            std = w.std(correction=int(w.numel() > 1))  # one value alone has no unbiased one
            scores[_key(name)] = (w - w.mean()) * (2 / fan_in) ** 0.5 / std.clamp(min=1e-12)
        return scores

    def score_gradients(
        self, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return g * w for each score, before the factor sign(s); g is zero where a subnetwork masked w."""
        return {
            _key(name): gradients[name] * tensors[name].detach() for name in self.shapes if name in gradients
        }

    def capacities(self) -> tuple[float, ...]:
        """Return the capacities that are told apart, in steps of 0.01."""
        return self._capacities

    def widths(self, capacity: float) -> tuple[float, Widths]:
        """Return kept / all prunable weights at `capacity`, and how many each layer keeps.

        Raises:
            EncoderError: `capacity` is not in (0, 1], or below the smallest of `capacities`.
        """
        if not 0 < capacity <= 1:
            raise EncoderError(f"capacity {capacity!r} is not in (0, 1]")
        if capacity < self._capacities[0] - 1e-9:
            raise EncoderError(
                f"capacity {capacity:g} is below the smallest subnetwork, {self._capacities[0]:g} "
                "(granularity weight); ask for more"
            )
        kept = self._counts(capacity)
        return sum(kept) / self._total, kept

    def _counts(self, capacity: float) -> Widths:
        return tuple(self._count(name, capacity) for name in self.shapes)

    def _count(self, name: str, capacity: float) -> int:
        ratio = float(np.interp(capacity * self._total, self._kept_at, self._ratios))
        # Rounded down, not to nearest as in the paper: what is reached must not exceed what was asked.
        return max(1, math.floor(self._share(name, ratio) + 1e-6))

    def _share(self, name: str, ratio: float) -> float:
        """Return what one layer keeps at a ratio, weights; not yet a whole number."""
        size = self._sizes[name]
        return min(size, ratio * size * self._stretch[name])

    def cut(
        self, tensors: Mapping[str, Tensor], widths: Widths, scores: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Mask tensors of the dense encoder; differentiable in the tensors.

        Args:
            tensors: Parameters, buffers or both, by their names in the encoder.
            widths: Weights kept of each layer.
            scores: By which they are ranked.
        """
        counts = dict(zip(self.shapes, widths, strict=True))
        result = dict(tensors)
        for name in tensors:
            masked = self._aliases.get(name, name)
            if counts.get(masked, 0) < self._sizes.get(masked, 0):
                result[name] = tensors[name] * self._mask(masked, counts[masked], scores)
        return result

    def expect(self, widths: Sequence[Widths], scores: Mapping[str, Tensor]) -> None:
        """Rank once for several widths that are going to be cut by these scores."""
        counts = {
            _key(name): [kept[number] for kept in widths if kept[number] < size]
            for number, (name, size) in enumerate(self._sizes.items())
        }
        self._ranked.expect(scores, {name: found for name, found in counts.items() if found})

    def forget(self) -> None:
        """Free what `expect` and `cut` keep for the next time."""
        self._ranked.forget()

    def kept(self, widths: Widths, scores: Mapping[str, Tensor]) -> list[Tensor]:
        """Return each layer's mask: bool of its weight's shape, true for as many as it keeps, the top by |score|.

        Of equal scores those that come first are kept, so masks are nested with ties too.
        """
        return [self._mask(name, count, scores) for name, count in zip(self.shapes, widths, strict=True)]

    def _mask(self, name: str, count: int, scores: Mapping[str, Tensor]) -> Tensor:
        return self._ranked.mask(_key(name), scores[_key(name)], count)

    def zeros(self, widths: Widths) -> dict[str, int]:
        """Return how many weights of each layer are masked."""
        return {name: size - kept for (name, size), kept in zip(self._sizes.items(), widths, strict=True)}

    def skeleton(self, widths: Widths) -> Encoder:
        """Return a plain encoder on the meta device; masks change no shape, whatever they keep."""
        return copy.deepcopy(self._blueprint)


def _key(name: str) -> str:
    return name.replace(".", "/")
