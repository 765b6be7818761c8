"""Granularity `channel`: subnetworks with physically fewer channels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.capacity import Widths, WidthTable
from prunnet.pruning.grouping.find import find_groups
from prunnet.pruning.grouping.shape import Table, on_meta, owned, shaped
from prunnet.pruning.groups import ChannelGroup, Slice
from prunnet.pruning.ranking import Remembered, by_size
from prunnet.pruning.rule import CutRule
from prunnet.pruning.slicing import sliced


class ChannelCut:
    """Cuts channels of an encoder by learned scores, one score per unit of each channel group.

    Args:
        encoder: The dense encoder; only its structure and the names of its tensors are kept.
        rule: What each group keeps (`prunnet.pruning.capacity`).

    Raises:
        EncoderError: The encoder has no group that could be cut, or an option does not fit it.
    """

    granularity = "channel"

    def __init__(self, encoder: Encoder, rule: CutRule) -> None:
        self._grouping = find_groups(encoder)
        self._rule = rule
        if not self._grouping.groups:
            raise EncoderError(
                "no channel of this backbone can be cut: "
                + "; ".join(f"{name} ({why})" for name, why in self._grouping.fixed.items())
                + "; use granularity 'weight'"
            )
        self._blueprint = on_meta(encoder)
        self._lay_out()

    def restrict(self, names: Collection[str]) -> None:
        """Keep the full width of all groups but those of some score names, as when they were trained."""
        others = {g.name: "kept its full width in training" for g in self.groups if score_key(g) not in names}
        if others and len(others) < len(self.groups):
            self._grouping = self._grouping.without(others)
            self._lay_out()

    def _lay_out(self) -> None:
        """Prepare all that follows from the groups."""
        encoder, self.groups, self.fixed = self._blueprint, self._grouping.groups, self._grouping.fixed
        tensors = [*encoder.named_parameters(), *encoder.named_buffers()]
        shapes = {name: tuple(t.shape) for name, t in [*tensors, *encoder.state_dict().items()]}
        countable = {name for name, _ in encoder.named_parameters() if not name.startswith("head.")}
        self.table = WidthTable(self.groups, shapes, countable, self._rule)
        self._parts: list[tuple[int, list[tuple[int, Slice]]]] = []
        """What groups own of a dimension: its size, and each owner's number and slice; equal ones once."""
        self._owned: dict[str, dict[int, int]] = {}
        known: dict[tuple[object, ...], int] = {}
        for name, dims in owned(encoder, self.groups).items():
            for dim, slices in dims.items():
                size = shapes[name][dim]
                key = (size, *((number, id(s.table)) for number, s in slices))
                if key not in known:
                    known[key] = len(self._parts)
                    self._parts.append((size, slices))
                self._owned.setdefault(name, {})[dim] = known[key]
        self._tables: dict[tuple[int, torch.device], Table] = {}
        self._orders = Remembered()

    def new_scores(self) -> nn.ParameterDict:
        """Return fresh scores, float32 [units] for each group, uniform in [-1, 1)."""
        return nn.ParameterDict(
            {score_key(g): nn.Parameter(torch.empty(g.units).uniform_(-1, 1)) for g in self.groups}
        )

    def magnitude_scores(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return scores from the weights: mean norm of what reads a unit, scaled to mean 1 in each group.

        The reading side is taken because a following BatchNorm makes the producing side's scale meaningless.
        """
        scores = {}
        for number, group in enumerate(self.groups):
            total = sum(
                (
                    self._per_unit(tensors[s.name].detach().square(), s, number).sqrt()
                    for s in group.slices
                    if s.consumer
                ),
                start=torch.zeros(()),
            )
            scores[score_key(group)] = total / total.mean().clamp(min=1e-12)
        return scores

    def score_gradients(
        self, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the straight-through gradient of each group's gates, before the factor sign(s).

        A gate multiplies its unit's channels where they are read, so its gradient is the sum of g * w over the
        reading weights of the unit. Where a subnetwork has cut a unit, g and so the result is zero. A group none of
        whose readers has a gradient is left out.

        Args:
            tensors: The encoder's parameters.
            gradients: Gradients of the same, by the same names.
        """
        result = {}
        for number, group in enumerate(self.groups):
            total: Tensor | float = 0.0
            for s in group.slices:
                if s.consumer and s.name in gradients:
                    total = total + self._per_unit(gradients[s.name] * tensors[s.name].detach(), s, number)
            if isinstance(total, Tensor):
                result[score_key(group)] = total
        return result

    def capacities(self, multiple: int) -> tuple[float, ...]:
        """Return every capacity that some width configuration reaches, ascending to 1.0."""
        return tuple(capacity for capacity, _ in self.table.configurations(multiple))

    def widths(self, capacity: float, multiple: int) -> tuple[float, Widths]:
        """Return (capacity reached, units kept of each group); see `WidthTable.widths`."""
        return self.table.widths(capacity, multiple)

    def expect(self, widths: Sequence[Widths], scores: Mapping[str, Tensor]) -> None:
        """Rank the units once for all widths that are going to be cut by these scores."""
        for group in self.groups if widths else ():
            self._orders.renew(group.name, scores[score_key(group)], by_size)

    def forget(self) -> None:
        """Free what `expect` and `cut` keep for the next time."""
        self._orders.forget()

    def kept(self, widths: Widths, scores: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the kept units of each group, int64, ascending: the top by |score|, ties to the lower number."""
        return [self._top(g, scores[score_key(g)], k) for g, k in zip(self.groups, widths, strict=True)]

    def _top(self, group: ChannelGroup, score: Tensor, count: int) -> Tensor:
        if count == group.units:
            return torch.arange(count, device=score.device)
        return self._orders.of(group.name, score, by_size)[:count].sort().values

    def cut(
        self, tensors: Mapping[str, Tensor], widths: Widths, scores: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Slice tensors of the dense encoder; differentiable.

        Args:
            tensors: Parameters, buffers or both, by their names in the encoder.
            widths: Units kept of each group.
            scores: By which they are ranked.
        """
        kept = self.kept(widths, scores)
        positions: dict[int, Tensor] = {}
        result = {}
        for name, tensor in tensors.items():
            indices: dict[int, Tensor] = {}
            for dim, part in self._owned.get(name, {}).items():
                if all(len(kept[n]) == self.groups[n].units for n, _ in self._parts[part][1]):
                    continue
                if part not in positions:
                    chosen = self._table(part, kept[self._parts[part][1][0][0]].device).positions(kept)
                    positions[part] = chosen.to(tensor.device)
                indices[dim] = positions[part]
            result[name] = sliced(tensor, indices)
        return result

    def _table(self, part: int, device: torch.device) -> Table:
        table = self._tables.get((part, device))
        if table is None:
            table = self._tables[part, device] = Table(*self._parts[part], device)
        return table

    def _per_unit(self, values: Tensor, s: Slice, number: int) -> Tensor:
        """Sum `values`, shaped like the slice's tensor, over all that each unit of a group owns: [units]."""
        others = [d for d in range(values.ndim) if d != s.dim]
        table = self._table(self._owned[s.name][s.dim], values.device)
        if others:  # of none, PyTorch sums all
            values = values.sum(others)
        return table.sums(values, number)

    def zeros(self, widths: Widths) -> dict[str, int]:
        """Return nothing: what is cut is not stored."""
        return {}

    def skeleton(self, widths: Widths) -> Encoder:
        """Return a plain encoder of these widths on the meta device: shapes without weights."""
        return shaped(self._blueprint, self._grouping, widths)


def score_key(group: ChannelGroup) -> str:
    """Return the name of the group's scores in a ParameterDict, which admits no dots."""
    return group.name.replace(".", "/")
