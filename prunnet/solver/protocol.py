"""What the solver needs of an encoder: `prunnet.pruning.prunable.PrunableEncoder`, or the package that holds one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


class Prunable(Protocol):
    """An encoder that can be cut to a capacity."""

    @property
    def granularity(self) -> str:
        """What is pruned: "channel" or "weight"."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(3, H, W) of the images, in pixels."""

    def capacities(self, multiple: int | None = None) -> tuple[float, ...]:
        """Return the distinct achievable capacities, ascending, the last one 1.0."""

    def achieved(self, capacity: float, multiple: int | None = None) -> float:
        """Return kept / dense prunable parameters for an asked capacity; never above it."""

    def skeleton(self, capacity: float, multiple: int | None = None) -> nn.Module:
        """Return the subnetwork on the meta device: shapes only."""


@runtime_checkable
class Packaged(Protocol):
    """A prunable encoder that knows how far down it was trained: `prunnet.package.package.EncoderPackage`."""

    @property
    def prunable(self) -> Prunable:
        """The encoder."""

    @property
    def min_capacity(self) -> float:
        """The least capacity that was trained, in (0, 1]."""
