"""Channel groups: which channels can only go together, and which positions of which tensors they own.

A group has `units`. A unit is one channel, one attention head, or one block of a grouped convolution; it is kept or
removed whole. `prunnet.pruning` finds the groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Slice:
    """What a group owns in one dimension of one tensor.

    Attributes:
        module: Name of the module in the encoder.
        tensor: Name of the tensor in the module ("weight", "bias", "running_mean", ...).
        dim: The dimension.
        table: int64 [units, m], the positions of each unit in that dimension.
        consumer: Whether the tensor reads the group's channels (its input side) instead of making them.
    """

    module: str
    tensor: str
    dim: int
    table: Tensor
    consumer: bool

    @property
    def name(self) -> str:
        """Name of the tensor in the encoder's state dict."""
        return f"{self.module}.{self.tensor}"


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together.

    Attributes:
        name: Name of the module that makes them. Where parts of its channels go different ways, further groups add a
            colon and their first channel.
        units: How many units the dense encoder has, > 1.
        channels_per_unit: How many channels of the narrowest weight a unit has. 1 for plain channels; more for heads
            and blocks, which are not rounded to a multiple.
        slices: Everything that the group owns.
    """

    name: str
    units: int
    channels_per_unit: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Attribute:
    """A number in a module that says how wide something is: what stays, and so many for each unit of some groups.

    Attributes:
        module: Name of the module.
        name: Name of the attribute.
        index: Position in the attribute, if that is a list or tuple.
        rest: What stays at any width.
        terms: Names of groups, and how many of each group's unit are counted.
    """

    module: str
    name: str
    index: int | None
    rest: int
    terms: tuple[tuple[str, int], ...]

    def value(self, widths: Mapping[str, int]) -> int:
        """Return the number at some widths, units by group."""
        return self.rest + sum(widths[group] * each for group, each in self.terms)


@dataclass(frozen=True)
class Grouping:
    """What can be cut of one encoder.

    Attributes:
        groups: In the order of the encoder's modules.
        fixed: What keeps its full width and why: module name -> reason.
        attributes: Numbers in modules that follow the widths.
    """

    groups: tuple[ChannelGroup, ...]
    fixed: dict[str, str]
    attributes: tuple[Attribute, ...] = ()

    def without(self, reasons: Mapping[str, str]) -> Grouping:
        """Return the same with some groups at full width: group name -> reason."""
        units = {g.name: g.units for g in self.groups if g.name in reasons}
        attributes = []
        for a in self.attributes:
            rest = a.rest + sum(units[group] * each for group, each in a.terms if group in units)
            terms = tuple(term for term in a.terms if term[0] not in units)
            attributes += [replace(a, rest=rest, terms=terms)] if terms else []
        groups = tuple(g for g in self.groups if g.name not in units)
        return Grouping(groups, {**self.fixed, **reasons}, tuple(attributes))
