"""Capacity to widths: how many units of each group a subnetwork keeps.

One ratio r says what all groups keep; `c` is the fraction of the dense encoder's prunable parameters that is left, so
the largest ratio whose parameters stay within `c` is taken. Rounding to a multiple never exceeds the asked capacity.

A group of `w` channels keeps `min(w, r w (W / w)^b f)` of them, W those of the widest group. With b = 0 and f = 1 that
is the same ratio everywhere. With more, narrow groups are cut later: they are where information is lost first, and they
hold few parameters. The factors f are named by the user, for what the width does not tell: which groups an encoder can
spare.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from prunnet.errors import EncoderError
from prunnet.pruning.groups import ChannelGroup
from prunnet.pruning.rule import CutRule

Widths = tuple[int, ...]
"""Units kept, one number for each group."""

LEAST_FACTOR, MOST_FACTOR = 0.01, 100
KeepFactor = Annotated[float, Field(strict=True, ge=LEAST_FACTOR, le=MOST_FACTOR)]


def stretches(
    sizes: Mapping[str, int], spare_narrow: float, keep_factors: Mapping[str, float]
) -> list[float]:
    """Return by how much more than the common ratio each part of an encoder keeps: `(largest / size)^b f`.

    Args:
        sizes: Channels of every group, or weights of every layer, by the name of its module.
        spare_narrow: The exponent b.
        keep_factors: The factors f, by patterns of names (`*` stands for anything); those of all patterns that fit a
            name are multiplied, and one that none fits has 1.

    Raises:
        EncoderError: The exponent is not in [0, 1], a factor is out of its range, or a pattern fits no name.
    """
    if not 0 <= spare_narrow <= 1:
        raise EncoderError(f"spare_narrow is {spare_narrow!r}; it must be in [0, 1]")
    for pattern, factor in keep_factors.items():
        if not LEAST_FACTOR <= factor <= MOST_FACTOR:
            raise EncoderError(
                f"keep_factors: {pattern!r} is {factor!r}; it must be in [{LEAST_FACTOR}, {MOST_FACTOR}]"
            )
        if not any(fnmatchcase(name, pattern) for name in sizes):
            raise EncoderError(
                f"keep_factors: {pattern!r} fits nothing that is cut; there are {', '.join(sorted(sizes))}"
            )
    largest = max(sizes.values())
    return [
        (largest / size) ** spare_narrow
        * math.prod(factor for pattern, factor in keep_factors.items() if fnmatchcase(name, pattern))
        for name, size in sizes.items()
    ]


class WidthTable:
    """All width configurations of an encoder, by capacity.

    Args:
        groups: The channel groups.
        shapes: Shape of every tensor that a group cuts; the prunable parameters are those of `countable`.
        countable: Names of the tensors that count as prunable parameters.
        rule: Its `spare_narrow` is the exponent b. 0: every group keeps the same ratio of its channels; 1: the same
            number of channels, as far as it has them. Its `keep_factors` are the factors f (`stretches`).

    Raises:
        EncoderError: The exponent or a factor is outside its range, or a pattern fits no group.
    """

    def __init__(
        self,
        groups: tuple[ChannelGroup, ...],
        shapes: Mapping[str, tuple[int, ...]],
        countable: set[str],
        rule: CutRule,
    ) -> None:
        self.groups = groups
        self._stretch = stretches(
            {g.name: g.units * g.channels_per_unit for g in groups}, rule.spare_narrow, rule.keep_factors
        )
        # Per tensor: numel outside the cut dimensions, and of each cut one what stays and (group, positions per unit).
        cuts: dict[str, dict[int, list[tuple[int, int]]]] = {}
        for number, group in enumerate(groups):
            for s in group.slices:
                if s.name in countable:
                    dims = cuts.setdefault(s.name, {})
                    dims.setdefault(s.dim, []).append((number, s.table.shape[1]))
        self._terms = []
        for name, dims in cuts.items():
            rest = math.prod(n for d, n in enumerate(shapes[name]) if d not in dims)
            parts = [
                (shapes[name][d] - sum(groups[g].units * per_unit for g, per_unit in owners), tuple(owners))
                for d, owners in dims.items()
            ]
            self._terms.append((rest, tuple(parts)))
        self.dense: Widths = tuple(g.units for g in groups)
        self.total = self.count(self.dense)

    def count(self, widths: Widths) -> int:
        """Return the number of prunable parameters that are left at these widths."""
        return sum(
            rest * math.prod(stays + sum(widths[g] * m for g, m in owners) for stays, owners in parts)
            for rest, parts in self._terms
        )

    @lru_cache(maxsize=32)  # noqa: B019 - a table lives as long as its encoder
    def configurations(self, multiple: int) -> tuple[tuple[float, Widths], ...]:
        """Return every (capacity, widths) that some ratio reaches, ascending; the last is (1.0, dense)."""
        steps = [
            # Rounded, so that groups which step together by the rule do so in floating point.
            [(round(share / stretch, 12), count) for share, count in self._steps(group, multiple)]
            for group, stretch in zip(self.groups, self._stretch, strict=True)
        ]
        ratios = sorted({ratio for group in steps for ratio, _ in group})
        table: dict[float, Widths] = {}
        for ratio in ratios:
            widths = tuple(group[bisect.bisect_right(group, (ratio, math.inf)) - 1][1] for group in steps)
            table[self.count(widths) / self.total] = widths
        table[1.0] = self.dense
        return tuple(sorted(table.items()))

    def _steps(self, group: ChannelGroup, multiple: int) -> list[tuple[float, int]]:
        """Return [(smallest share kept, units)] of one group: rounded to the nearest multiple, at least one of them."""
        step = multiple if group.channels_per_unit == 1 else 1
        smallest = min(step, group.units)
        counts = [*range(smallest, group.units, step), group.units]
        # Nearest rounding: width k is reached half way between the width before and k.
        starts = [0.0] + [(a + b) / 2 / group.units for a, b in itertools.pairwise(counts)]
        return list(zip(starts, counts, strict=True))

    def widths(self, capacity: float, multiple: int) -> tuple[float, Widths]:
        """Return (achieved capacity, widths) of the largest configuration within `capacity`.

        Raises:
            EncoderError: `capacity` is not in (0, 1], or no configuration is as small.
        """
        if not 0 < capacity <= 1:
            raise EncoderError(f"capacity {capacity!r} is not in (0, 1]")
        table = self.configurations(multiple)
        # A capacity that was printed with nine digits still finds itself.
        position = bisect.bisect_right(table, (capacity + 1e-9, self.dense)) - 1
        if position < 0:
            raise EncoderError(
                f"capacity {capacity:g} is below the smallest subnetwork, {table[0][0]:.4g} "
                f"(channels in multiples of {multiple}); ask for more or use a smaller multiple"
            )
        return table[position]
