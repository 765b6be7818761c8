"""Granularity `channel`: subnetworks with physically fewer channels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from prunnet.capacity import KEEP_ALIKE, Widths, WidthTable
from prunnet.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.groups import ChannelGroup, Slice, find_groups
from prunnet.ranked import Remembered, by_size
from prunnet.slicing import sliced


class ChannelCut:
    """Cuts channels of an encoder by learned scores, one score per unit of each channel group.

    Args:
        encoder: The dense encoder; only its structure and the names of its tensors are kept.
        spare_narrow: How much later narrow groups are cut than wide ones, in [0, 1] (`prunnet.capacity`).
        keep_factors: Factors on what single groups keep, by patterns of their names (`prunnet.capacity.stretches`).

    Raises:
        EncoderError: The encoder has no group that could be cut, or an option does not fit it.
    """

    granularity = "channel"

    def __init__(
        self, encoder: Encoder, spare_narrow: float = 0.0, keep_factors: Mapping[str, float] = KEEP_ALIKE
    ) -> None:
        grouping = find_groups(encoder)
        self.groups, self.fixed = grouping.groups, grouping.fixed
        if not self.groups:
            raise EncoderError(
                "no channel of this backbone can be cut: "
                + "; ".join(f"{name} is {why}" for name, why in self.fixed.items())
                + "; use granularity 'weight'"
            )
        self._blueprint = copy.deepcopy(encoder).to("meta").eval()
        shapes = {name: tuple(t.shape) for name, t in encoder.state_dict().items()}
        countable = {name for name, _ in encoder.named_parameters() if not name.startswith("head.")}
        self.table = WidthTable(self.groups, shapes, countable, spare_narrow, keep_factors)
        self._slices: dict[str, list[tuple[int, Slice]]] = {}
        for number, group in enumerate(self.groups):
            for s in group.slices:
                self._slices.setdefault(s.name, []).append((number, s))
        self._tables: dict[tuple[int, torch.device], _Table] = {}
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
        for group in self.groups:
            total = sum(
                (
                    self._per_unit(tensors[s.name].detach().square(), s).sqrt()
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
        for group in self.groups:
            total: Tensor | float = 0.0
            for s in group.slices:
                if s.consumer and s.name in gradients:
                    total = total + self._per_unit(gradients[s.name] * tensors[s.name].detach(), s)
            if isinstance(total, Tensor):
                result[score_key(group)] = total
        return result

    def capacities(self, multiple: int) -> tuple[float, ...]:
        """Return every capacity that some width configuration reaches, ascending to 1.0."""
        return tuple(capacity for capacity, _ in self.table.configurations(multiple))

    def achieved(self, capacity: float, multiple: int) -> float:
        """Return the capacity reached when `capacity` is asked for; never above it."""
        return self.table.widths(capacity, multiple)[0]

    def expect(self, capacities: Sequence[float], scores: Mapping[str, Tensor]) -> None:
        """Rank the units once for all capacities that are going to be cut by these scores."""
        for group in self.groups if capacities else ():
            self._orders.renew(group.name, scores[score_key(group)], by_size)

    def forget(self) -> None:
        """Free what `expect` and `cut` keep for the next time."""
        self._orders.forget()

    def kept(self, capacity: float, scores: Mapping[str, Tensor], multiple: int) -> list[Tensor]:
        """Return the kept units of each group, int64, ascending: the top by |score|, ties to the lower number."""
        _, widths = self.table.widths(capacity, multiple)
        return [self._top(g, scores[score_key(g)], k) for g, k in zip(self.groups, widths, strict=True)]

    def _top(self, group: ChannelGroup, score: Tensor, count: int) -> Tensor:
        if count == group.units:
            return torch.arange(count, device=score.device)
        return self._orders.of(group.name, score, by_size)[:count].sort().values

    def cut(
        self, tensors: Mapping[str, Tensor], capacity: float, scores: Mapping[str, Tensor], multiple: int
    ) -> dict[str, Tensor]:
        """Slice tensors of the dense encoder for one capacity; differentiable.

        Args:
            tensors: Parameters, buffers or both, by their names in the encoder.
        """
        kept = self.kept(capacity, scores, multiple)
        positions: dict[int, Tensor] = {}
        result = {}
        for name, tensor in tensors.items():
            indices: dict[int, Tensor] = {}
            for number, s in self._slices.get(name, ()):
                if len(kept[number]) == self.groups[number].units:
                    continue
                index = positions.get(id(s.table))
                if index is None:
                    chosen = self._table(s, kept[number].device).positions(kept[number])
                    index = positions[id(s.table)] = chosen.to(tensor.device)
                indices[s.dim] = index
            result[name] = sliced(tensor, indices)
        return result

    def _table(self, s: Slice, device: torch.device) -> _Table:
        """Return a slice's table on a device, where it stays: a GPU would have to be waited for in every step."""
        table = self._tables.get((id(s.table), device))
        if table is None or table.source is not s.table:
            table = self._tables[id(s.table), device] = _Table(s.table, device)
        return table

    def _per_unit(self, values: Tensor, s: Slice) -> Tensor:
        """Sum `values`, shaped like the slice's tensor, over all that each unit owns: [units]."""
        others = [d for d in range(values.ndim) if d != s.dim]
        return self._table(s, values.device).sums(values.sum(others))

    def skeleton(self, capacity: float, multiple: int) -> Encoder:
        """Return a plain encoder of that capacity on the meta device: shapes without weights."""
        _, widths = self.table.widths(capacity, multiple)
        return self._shaped(widths)

    def _shaped(self, widths: Widths) -> Encoder:
        encoder = copy.deepcopy(self._blueprint)
        modules = dict(encoder.named_modules())
        for group, width in zip(self.groups, widths, strict=True):
            for s in group.slices:
                module = modules[s.module]
                tensor = getattr(module, s.tensor)
                shape = list(tensor.shape)
                shape[s.dim] = width * s.table.shape[1]
                new = torch.empty(shape, device="meta", dtype=tensor.dtype)
                setattr(module, s.tensor, nn.Parameter(new) if isinstance(tensor, nn.Parameter) else new)
            for s in group.slices:
                _fit_attributes(modules, s.module, group, width)
        return encoder


class _Table:
    """The positions of a group's units in one dimension of one tensor, [units, m], on one device."""

    def __init__(self, source: Tensor, device: torch.device) -> None:
        self.source, self._values = source, source.to(device)
        flat = source.flatten()
        self._itself = torch.equal(flat, torch.arange(len(source)))
        """Unit i is position i: nothing needs to be looked up."""
        self._ascending = bool((flat.diff() > 0).all())

    def positions(self, units: Tensor) -> Tensor:
        """Return the positions of ascending units, ascending."""
        if self._itself:
            return units
        found = self._values[units].flatten()
        return found if self._ascending else found.sort().values

    def sums(self, values: Tensor) -> Tensor:
        """Sum values of all positions over each unit's: [units]."""
        return values if self._itself else values[self._values].sum(1)


def score_key(group: ChannelGroup) -> str:
    """Return the name of the group's scores in a ParameterDict, which admits no dots."""
    return group.name.replace(".", "/")


def _fit_attributes(modules: Mapping[str, nn.Module], name: str, group: ChannelGroup, width: int) -> None:
    """Make a module's attributes tell the truth about its tensors."""
    module = modules[name]
    if isinstance(module, nn.Conv2d):
        out, per_group = module.weight.shape[:2]
        if module.groups > 1:
            # Blocks go whole, so the outputs of one block stay as many; a depthwise block has one or a few.
            module.groups = out * module.groups // module.out_channels
        module.out_channels, module.in_channels = out, per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
        parent = modules[name.rpartition(".")[0]]
        if group.channels_per_unit > 1 and getattr(parent, "qkv", None) is module:
            attributes = {"num_heads": width, "attn_dim": width * group.channels_per_unit}
            vars(parent).update({name: value for name, value in attributes.items() if hasattr(parent, name)})
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = module.weight.shape[0]
