"""Slow references for cuts: the dense encoder with zeros where the subnetwork has nothing."""

from __future__ import annotations

import copy

from torch import Tensor

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.channel import ChannelCut, score_key
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.weight import WeightCut


def masked_encoder(prunable: PrunableEncoder, capacity: float) -> Encoder:
    """Return a copy of the dense encoder in which what `capacity` cuts is zero.

    A removed channel is one that nobody reads, so zeroing the readers' weights is the same as removing it.
    """
    encoder = copy.deepcopy(prunable.encoder)
    tensors = encoder.state_dict()
    cutter = prunable.cutter
    if isinstance(cutter, ChannelCut):
        for group, width in zip(cutter.groups, prunable.at(capacity).widths, strict=True):
            for unit in dropped_units(prunable.scores[score_key(group)], width):
                for s in group.slices:
                    if s.consumer:
                        for position in s.table[unit].tolist():
                            tensors[s.name].select(s.dim, position).zero_()
    else:
        assert isinstance(cutter, WeightCut)
        for name in cutter.shapes:
            score = prunable.scores[name.replace(".", "/")].detach().abs().flatten().tolist()
            keep = max(1, int(capacity * len(score) + 1e-6))
            ranked = sorted(range(len(score)), key=lambda i: -score[i])
            tensors[name].view(-1)[ranked[keep:]] = 0
    return encoder


def dropped_units(scores: Tensor, kept: int) -> list[int]:
    """Return the units that are not among the `kept` largest |scores|; of equals the later ones go."""
    ranked = sorted(range(len(scores)), key=lambda i: (-abs(float(scores[i])), i))
    return ranked[kept:]
