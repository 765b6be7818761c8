"""By which rule an encoder is cut: one value of the recipe, of the encoder package and of the prunable encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from runtime_py.bundle.manifest import Granularity

AdapterKind = Literal["none", "smooth", "full", "switched"]

_STATED = ("granularity", "channel_multiple", "spare_narrow", "keep_factors", "adapters")


class StatesRule(Protocol):
    """A file's model that has the fields of a rule: a recipe's method, or the metadata of an encoder package."""

    @property
    def granularity(self) -> Granularity:
        """What is pruned."""

    @property
    def channel_multiple(self) -> int:
        """Of which widths are multiples."""

    @property
    def spare_narrow(self) -> float:
        """How much later narrow groups are cut."""

    @property
    def keep_factors(self) -> Mapping[str, float]:
        """Factors on what single groups keep."""

    @property
    def adapters(self) -> AdapterKind:
        """Corrections of the subnetworks' own."""


@dataclass(frozen=True)
class CutRule:
    """How subnetworks are cut out of an encoder.

    Attributes:
        granularity: "channel" or "weight".
        channel_multiple: Widths of the channel granularity are multiples of this where the group allows it.
        spare_narrow: How much later narrow channel groups are cut than wide ones, or small layers than large ones where
            single weights are masked, in [0, 1] (`prunnet.pruning.capacity`, `prunnet.pruning.weight`).
        keep_factors: Factors on what single groups or layers keep, by patterns of their names
            (`prunnet.pruning.capacity.stretches`).
        adapters: Corrections of the subnetworks' own, which vanish at capacity 1 (`prunnet.pruning.adapters`).
        trained: Capacities below 1 that are trained, for switched adapters.
    """

    granularity: Granularity = "channel"
    channel_multiple: int = 8
    spare_narrow: float = 0.0
    keep_factors: Mapping[str, float] = field(default_factory=dict)
    adapters: AdapterKind = "none"
    trained: tuple[float, ...] = ()

    @classmethod
    def stated(cls, by: StatesRule, trained: Sequence[float]) -> CutRule:
        """Return the rule that a file states.

        Args:
            by: What was read.
            trained: The capacities that it trains; 1 does not count.
        """
        below = tuple(capacity for capacity in trained if capacity < 1)
        return cls(**{name: getattr(by, name) for name in _STATED}, trained=below)

    def fields(self) -> dict[str, Any]:
        """Return what a file states of the rule, under the same names; the trained capacities are elsewhere in it."""
        return {name: getattr(self, name) for name in _STATED}


PLAIN = CutRule()
"""Channels in multiples of 8, every group alike, without corrections."""
