"""Channel groups: which channels can only go together, and which positions of which tensors they own.

A group has `units`. A unit is one channel, one attention head, or one block of a grouped convolution; it is kept or
removed whole. Torch-Pruning's dependency graph finds the groups.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from prunnet.encoder import Encoder

_CUTTABLE = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)


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
        name: Name of the module that makes them.
        units: How many units the dense encoder has, > 1.
        channels_per_unit: 1 for plain channels; more for heads and blocks, which are not rounded to a multiple.
        slices: Everything that the group owns.
    """

    name: str
    units: int
    channels_per_unit: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Grouping:
    """The groups of one encoder, and what keeps its full width and why (module name -> reason)."""

    groups: tuple[ChannelGroup, ...]
    fixed: dict[str, str]


def find_groups(encoder: Encoder) -> Grouping:
    """Find every channel group of an encoder.

    Returns:
        Groups in the order of the encoder's modules. The embedding's own dimension, groups under a norm over the
        channel axis, and groups that touch a module this project can not cut are in `fixed`.
    """
    names = {module: name for name, module in encoder.named_modules()}
    groups, fixed = _attention_groups(encoder)
    heads = {s.module for g in groups for s in g.slices}
    for items in _dependency_groups(encoder):
        root = names[items[0][0]]
        reason = _why_fixed(root, items, heads, encoder)
        if reason is None:
            groups.append(_group(root, items, names))
        elif root not in heads:
            fixed[root] = reason
    groups = _tie_grouped_convolutions(encoder, groups)
    order = {name: i for i, (name, _) in enumerate(encoder.named_modules())}
    return Grouping(tuple(sorted(groups, key=lambda g: order[g.name])), fixed)


# One entry of a dependency group: module, whether its input side is cut, positions in it, their positions in the root.
_Item = tuple[nn.Module, bool, list[int], list[int]]


def _dependency_groups(encoder: Encoder) -> list[list[_Item]]:
    """Trace the encoder with Torch-Pruning; entries without a module of the encoder (element-wise ops) are dropped."""
    import torch_pruning as tp

    training = encoder.training
    with warnings.catch_warnings():
        # It announces which raw parameters (class token, layer scale) it would cut; their groups stay whole here.
        warnings.simplefilter("ignore", UserWarning)
        example = torch.zeros(1, 3, *encoder.image_size)
        graph = tp.DependencyGraph().build_dependency(encoder.eval(), example_inputs=example)
        found = list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
    encoder.train(training)
    inside = set(encoder.modules())
    result = []
    for group in found:
        items: list[_Item] = []
        for entry in group:
            dep: Any = entry.dep
            target = dep.target.module
            parameter = dep.target.type == tp.ops.OPTYPE.PARAMETER
            if target in inside or parameter:
                cuts_input = "in_channels" in getattr(dep.handler, "__name__", "")
                items.append((target, cuts_input, list(entry.idxs), list(entry.root_idxs)))
        result.append(items)
    return result


def _why_fixed(root: str, items: list[_Item], heads: set[str], encoder: Encoder) -> str | None:
    if root == "head.project":
        return "the embedding's dimension is the gallery's"
    if any(module is encoder.pixels for module, *_ in items):
        return "tied to the input's colours"
    for module, *_ in items:
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            return f"normalised over the channel axis by {type(module).__name__}"
        if not isinstance(module, _CUTTABLE):
            return f"tied to {type(module).__name__}, which is not cut"
    if root in heads:
        return "cut as attention heads"
    return None


def _tensors(module: nn.Module) -> list[str]:
    return [
        n for n in ("weight", "bias", "running_mean", "running_var") if getattr(module, n, None) is not None
    ]


def _group(root: str, items: list[_Item], names: dict[nn.Module, str]) -> ChannelGroup:
    units = len(items[0][3])
    slices: dict[tuple[str, str, int], Slice] = {}
    for module, cuts_input, positions, roots in items:
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        rows: list[list[int]] = [[] for _ in range(units)]
        for position, unit in zip(positions, roots, strict=True):
            rows[unit].append(position)
        table = torch.tensor(rows)
        consumer = cuts_input and not depthwise
        for tensor in ["weight"] if consumer else _tensors(module):
            new = Slice(names[module], tensor, int(consumer), table, consumer)
            old = slices.setdefault((new.module, tensor, new.dim), new)
            if not torch.equal(old.table, table):
                merged = torch.tensor(
                    [sorted({*a, *b}) for a, b in zip(old.table.tolist(), table.tolist(), strict=True)]
                )
                slices[new.module, tensor, new.dim] = replace(old, table=merged)
    return ChannelGroup(root, units, 1, tuple(slices.values()))


def _attention_groups(encoder: Encoder) -> tuple[list[ChannelGroup], dict[str, str]]:
    """One group per attention layer of timm's shape (`qkv`, `proj`, `num_heads`), one unit per head."""
    groups, fixed = [], {}
    for name, module in encoder.named_modules():
        qkv, proj, heads = (getattr(module, a, None) for a in ("qkv", "proj", "num_heads"))
        if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear) and isinstance(heads, int)):
            continue
        inner = proj.in_features
        gated = getattr(module, "gate", None) is not None
        normed = not isinstance(getattr(module, "norm", nn.Identity()), nn.Identity)
        if qkv.out_features != 3 * inner or gated or normed:
            fixed[name] = "an attention layer with a gate, an inner norm or shared keys"
            continue
        size = inner // heads
        head = torch.arange(inner).view(heads, size)
        triple = torch.cat([head, head + inner, head + 2 * inner], dim=1)
        slices = [Slice(f"{name}.qkv", t, 0, triple, False) for t in _tensors(qkv)]
        slices.append(Slice(f"{name}.proj", "weight", 1, head, True))
        if isinstance(getattr(module, "relative_position_bias_table", None), nn.Parameter):
            slices.append(
                Slice(name, "relative_position_bias_table", 1, torch.arange(heads).view(-1, 1), False)
            )
        if heads > 1:
            groups.append(ChannelGroup(f"{name}.qkv", heads, size, tuple(slices)))
    return groups, fixed


def _tie_grouped_convolutions(encoder: Encoder, groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Let a grouped (not depthwise) convolution lose whole blocks: its input and output groups become one."""
    for name, module in encoder.named_modules():
        if not isinstance(module, nn.Conv2d) or module.groups in (1, module.in_channels):
            continue
        makers = [g for g in groups if any(s.module == name and s.tensor == "weight" for s in g.slices)]
        if not makers:
            continue
        groups = [g for g in groups if g not in makers]
        blocks = [_in_blocks(g, module.groups) for g in makers]
        # The block's input positions are gone with its output rows: weight's dim 1 counts within a block.
        slices = [s for g in blocks for s in g.slices if not (s.module == name and s.consumer)]
        unique = {(s.name, s.dim): s for s in slices}
        merged = replace(blocks[0], slices=tuple(unique.values()))
        groups.append(merged)
    return groups


def _in_blocks(group: ChannelGroup, blocks: int) -> ChannelGroup:
    slices = tuple(replace(s, table=s.table.reshape(blocks, -1)) for s in group.slices)
    return replace(group, units=blocks, channels_per_unit=group.units // blocks, slices=slices)
