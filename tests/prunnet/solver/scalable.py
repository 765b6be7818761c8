"""A prunable encoder in the least code: a residual net whose stages narrow together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tests.prunnet.cost.nets import ConvEncoder

DENSE = (40, 80, 160)


class Scalable:
    """Satisfies `prunnet.solver.Prunable`; counts its skeletons, so that a test can see the cache work."""

    def __init__(self, dense: tuple[int, int, int] = DENSE, granularity: str = "channel") -> None:
        self.dense, self._granularity = dense, granularity
        self.input_shape = (3, 48, 48)
        self.built = 0

    @property
    def granularity(self) -> str:
        return self._granularity

    def capacities(self, multiple: int | None = None) -> tuple[float, ...]:
        return tuple(sorted({self._kept(widths) for widths in self._configurations(multiple or 1)}))

    def at(self, capacity: float, multiple: int | None = None) -> ScalableCut:
        widths = max(w for w in self._configurations(multiple or 1) if self._kept(w) <= capacity)
        return ScalableCut(self, self._kept(widths), widths if self._granularity == "channel" else self.dense)

    def _configurations(self, multiple: int) -> list[tuple[int, int, int]]:
        first, second, third = self.dense
        widths = [(w, w * second // first, w * third // first) for w in range(4, first + 1, 4)]
        return [w for w in widths if w == self.dense or all(each % multiple == 0 for each in w)]

    def _kept(self, widths: tuple[int, int, int]) -> float:
        a, b, c = widths
        x, y, z = self.dense
        return (a * a + b * b + c * c) / (x * x + y * y + z * z)


@dataclass(frozen=True)
class ScalableCut:
    """Satisfies `prunnet.solver.protocol.Subnetwork`."""

    source: Scalable
    achieved: float
    widths: tuple[int, int, int]

    def zeros(self) -> dict[str, int]:
        """Where weights are masked, each large layer of the stages keeps the share that is achieved."""
        if self.source.granularity == "channel":
            return {}
        layers = {name: p.numel() for name, p in self.skeleton().named_parameters() if p.ndim > 1}
        return {name: int((1 - self.achieved) * size) for name, size in layers.items()}

    def skeleton(self) -> nn.Module:
        self.source.built += 1
        with torch.device("meta"):
            return ConvEncoder(self.widths).eval()
