"""What the solver needs of an encoder: `prunnet.pruning.prunable.PrunableEncoder`, or the package that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

    from runtime_py.framing import Framing


class Subnetwork(Protocol):
    """One subnetwork: `prunnet.pruning.cut.Cut`."""

    @property
    def achieved(self) -> float:
        """Kept / dense prunable parameters; never above the capacity asked for."""

    def skeleton(self) -> nn.Module:
        """Return it on the meta device: shapes only."""

    def zeros(self) -> Mapping[str, int]:
        """Return how many weights of a parameter are masked, by its name in the skeleton."""


class Prunable(Protocol):
    """An encoder that can be cut to a capacity."""

    @property
    def granularity(self) -> str:
        """What is pruned: "channel" or "weight"."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(3, H, W) of the images, in pixels."""

    @property
    def framing(self) -> Framing:
        """Their size, and how pictures are brought to it."""

    def capacities(self, multiple: int | None = None) -> tuple[float, ...]:
        """Return the distinct achievable capacities, ascending, the last one 1.0."""

    def at(self, capacity: float, multiple: int | None = None) -> Subnetwork:
        """Look up the subnetwork of an asked capacity."""


@runtime_checkable
class Packaged(Protocol):
    """A prunable encoder that knows what its training measured: `prunnet.package.package.EncoderPackage`."""

    @property
    def prunable(self) -> Prunable:
        """The encoder."""

    @property
    def min_capacity(self) -> float:
        """The least capacity that was trained, in (0, 1]."""

    def expected_map(self, capacity: float) -> float | None:
        """Return the mAP of a subnetwork's queries in the dense gallery, in points (0..100); None if not measured."""
