"""Put groups into practice: which positions of a tensor are kept, and an encoder of those shapes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.groups import ChannelGroup, Grouping, Slice

Owned = dict[str, dict[int, list[tuple[int, Slice]]]]
"""Tensor -> dimension -> (number of the group, slice)."""


def on_meta(encoder: Encoder) -> Encoder:
    """Return a copy in eval mode whose tensors have shapes and no data; what is shared stays shared."""
    memo: dict[int, object] = {}
    for p in encoder.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
    for b in encoder.buffers():
        memo[id(b)] = torch.empty_like(b, device="meta")
    return fresh(copy.deepcopy(encoder, memo).to("meta"))


def fresh(encoder: Encoder) -> Encoder:
    """Put an encoder into eval mode without what earlier passes left in it.

    Attention biases that are looked up once and kept are forgotten when training begins; this is timm's convention.
    """
    return encoder.train().eval()


def owned(encoder: Encoder, groups: Sequence[ChannelGroup]) -> Owned:
    """Return what the groups own, under every name that a tensor has in the encoder's state dict."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, tensor in [
        *encoder.named_parameters(remove_duplicate=False),
        *encoder.named_buffers(remove_duplicate=False),
    ]:
        names[id(tensor)].append(name)
    aliases = {name: others for others in names.values() for name in others}
    found: Owned = defaultdict(lambda: defaultdict(list))
    for number, group in enumerate(groups):
        for s in group.slices:
            for name in aliases[s.name]:
                found[name][s.dim].append((number, s))
    return {name: dict(dims) for name, dims in found.items()}


class Table:
    """The positions of some groups' units in one dimension of one tensor, on one device.

    Args:
        size: The dimension's size; positions that no group owns are always kept.
        slices: (number of the group, slice) of all that own parts of it.
        device: Where the tables stay: a GPU would have to be waited for in every step.
    """

    def __init__(self, size: int, slices: Sequence[tuple[int, Slice]], device: torch.device) -> None:
        self.key = tuple(number for number, _ in slices)
        flat = torch.cat([s.table.flatten() for _, s in slices])
        others = torch.ones(size, dtype=torch.bool)
        others[flat] = False
        self._rest = others.nonzero().flatten().to(device)
        self._values = [s.table.to(device) for _, s in slices]
        self._plain = len(slices) == 1 and torch.equal(flat, torch.arange(len(slices[0][1].table)))
        """Unit i is position i, and there are no others: nothing needs to be looked up."""
        self._ascending = len(slices) == 1 and not len(self._rest) and bool((flat.diff() > 0).all())

    def positions(self, kept: Sequence[Tensor]) -> Tensor:
        """Return the positions of each group's ascending units, and of what is always kept, ascending."""
        if self._plain and not len(self._rest):
            return kept[self.key[0]]
        found = [v[kept[number]].flatten() for number, v in zip(self.key, self._values, strict=True)]
        if self._ascending:
            return found[0]
        return torch.cat([*found, self._rest]).sort().values

    def sums(self, values: Tensor, group: int) -> Tensor:
        """Sum values of all positions of the dimension over those of each unit of one group: [units]."""
        if self._plain and not len(self._rest):
            return values
        return values[self._values[self.key.index(group)]].sum(1)


def shaped(blueprint: Encoder, grouping: Grouping, widths: Sequence[int]) -> Encoder:
    """Return an encoder on the meta device whose tensors have the shapes of some widths.

    Args:
        blueprint: The dense encoder on the meta device; it is copied.
        grouping: Its groups.
        widths: Units that each group keeps.
    """
    encoder = copy.deepcopy(blueprint)
    modules = dict(encoder.named_modules())
    before = {name: tuple(m.weight.shape) for name, m in modules.items() if isinstance(m, _CONVOLUTIONS)}
    new: dict[Tensor, Tensor] = {}  # by identity, which is how tensors are hashed
    for name, dims in owned(encoder, grouping.groups).items():
        module, tensor = modules_of(encoder, name)
        old = getattr(module, tensor)
        shape = list(old.shape)
        for dim, parts in dims.items():
            for number, s in parts:
                shape[dim] -= (grouping.groups[number].units - widths[number]) * s.table.shape[1]
        if old not in new:  # a tensor that two modules share stays shared
            made = torch.empty(shape, device="meta", dtype=old.dtype)
            new[old] = nn.Parameter(made, old.requires_grad) if isinstance(old, nn.Parameter) else made
            new[new[old]] = new[old]
        setattr(module, tensor, new[old])
    of_group = {g.name: width for g, width in zip(grouping.groups, widths, strict=True)}
    for a in grouping.attributes:
        module, value = modules[a.module], a.value(of_group)
        if a.index is None:
            setattr(module, a.name, value)
        else:
            held = list(getattr(module, a.name))
            held[a.index] = value
            setattr(module, a.name, type(getattr(module, a.name))(held))
    for name, module in modules.items():
        _fit(module, before.get(name))
    return encoder


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def modules_of(encoder: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that holds a tensor, by any of its names, and the tensor's name in it."""
    path, _, tensor = name.rpartition(".")
    return encoder.get_submodule(path), tensor


def _fit(module: nn.Module, before: tuple[int, ...] | None) -> None:
    """Make a module's attributes tell the truth about its tensors."""
    if isinstance(module, _CONVOLUTIONS) and before is not None:
        rows, per_group = module.weight.shape[:2]
        if module.groups > 1:
            # Blocks go whole, so the rows of one block stay as many; a depthwise block has one or a few.
            module.groups = rows * module.groups // before[0]
        if module.transposed:
            module.in_channels, module.out_channels = rows, per_group * module.groups
        else:
            module.out_channels, module.in_channels = rows, per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        for tensor in (module.weight, module.running_mean):
            if tensor is not None:
                module.num_features = len(tensor)
