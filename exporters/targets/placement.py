"""Finds the layers of a network again in an artifact, by their weights.

Formats keep neither names nor, where branches run side by side, the order of the layers: LiteRT's converter moves a
branch behind the others, ONNX Runtime swaps the query and the key of an attention. They keep the values, but for the
order of the axes and a factor on each output channel, such as that of a folded BatchNorm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.errors import ExportError
from exporters.targets.layers import CHANNEL_AXIS, Layer, Shape, check_names, owners, weights_of
from exporters.targets.retraced import kind_of
from prunnet.encoder.raw_input import FILTER

if TYPE_CHECKING:
    import torch

SAME = 1e-4
"""Weights whose rows of length 1 differ by no more are the same: float32 rounds to 1e-7."""

Weights = NDArray[Any]
Places = Callable[[Sequence[Weights | None]], list[bool]]
"""Takes the weights of each operation of an artifact, in order, None for one without; tells of each whether it stays in
float. What comes before the first and after the last layer always does: pixels are scaled there, and the embedding
divided by its length; 256 levels would move every picture before any layer has seen it."""


@dataclass(frozen=True)
class _Valued:
    """A layer with the values of its weights.

    Args:
        layer: The layer.
        values: Its weights.
        axis: Their axis of output channels.
    """

    layer: Layer
    values: Weights
    axis: int


def float_places(
    target: str, module: torch.nn.Module, example: torch.Tensor, names: Collection[str]
) -> Places:
    """Return what finds the layers that stay in float in an artifact.

    Args:
        target: Format of the artifact, for the error.
        module: The network that the artifact is made of.
        example: Its input.
        names: Layers that stay in float; none for plain int8.
    """
    resizing = [_plain(tuple(each.shape)) for name, each in module.named_buffers() if name.endswith(FILTER)]
    return partial(_places, target, _layers(module, example) if names else [], names, resizing)


def _layers(module: torch.nn.Module, example: torch.Tensor) -> list[_Valued]:
    import torch

    program = torch.export.export(module, (example,)).module()
    computed = torch.fx.Interpreter(program)

    def value_of(node: Any) -> Any:
        if node not in computed.env:
            for each in node.all_input_nodes:
                value_of(each)
            computed.env[node] = computed.run_node(node)
        return computed.env[node]

    found = []
    with torch.no_grad():
        for node, layer in owners(program.graph).items():
            weights = weights_of(node)
            if layer is not None and weights is not None:
                values = value_of(weights).detach().numpy()
                found.append(_Valued(layer, values, CHANNEL_AXIS.get(kind_of(node), 0)))
    return found


def _places(
    target: str,
    layers: Sequence[_Valued],
    names: Collection[str],
    resizing: Sequence[Shape],
    weights: Sequence[Weights | None],
) -> list[bool]:
    """Tell what stays in float; the first operations with weights are no layers, but the filters of these shapes."""
    check_names(target, [each.layer for each in layers], names)
    first = len(resizing)
    theirs = [each for each in weights if each is not None]
    if Counter(_plain(each.shape) for each in theirs[:first]) != Counter(resizing):
        raise ExportError(
            target,
            "quantise",
            "the artifact does not begin with the resize: export without raw_input, or in fp32",
        )
    theirs = theirs[first:]
    following = iter(_matched(target, layers, theirs) if names else ())
    kept, current, last, passed = [], True, 0, 0
    for place, each in enumerate(weights, 1):
        passed += each is not None
        if each is not None and passed > first:
            current, last = bool(names) and next(following).name in names, place
        kept.append(current)
    return kept[:last] + [True] * (len(kept) - last)


def _matched(target: str, layers: Sequence[_Valued], theirs: Sequence[Weights]) -> list[Layer]:
    """Return the layer of each of an artifact's weights."""
    if Counter(_plain(each.shape) for each in theirs) != Counter(_plain(each.layer.shape) for each in layers):
        raise _refused(target, _difference([each.layer for each in layers], theirs))
    matched: dict[int, Layer] = {}
    for plain in {_plain(each.shape) for each in theirs}:
        places = [place for place, each in enumerate(theirs) if _plain(each.shape) == plain]
        alike = [each for each in layers if _plain(each.layer.shape) == plain]
        while places and len({each.layer.name for each in alike}) > 1:
            nearest = _nearest(alike, theirs, places)
            if nearest is None:
                among = ", ".join(dict.fromkeys(each.layer.name for each in alike))
                raise _refused(target, f"the layers {among} cannot be told apart in the artifact")
            place, which = nearest
            places.remove(place)
            matched[place] = alike.pop(which).layer
        matched.update(zip(places, (each.layer for each in alike), strict=True))
    return [matched[place] for place in range(len(theirs))]


def _nearest(
    alike: Sequence[_Valued], theirs: Sequence[Weights], places: Sequence[int]
) -> tuple[int, int] | None:
    """Return a place and the position of the layer whose weights stand there; None if none is there for sure."""
    for place in places:
        apart = [_distance(each, theirs[place]) for each in alike]
        if min(apart) <= SAME:
            return place, apart.index(min(apart))
    return None


def _distance(mine: _Valued, other: Weights) -> float:
    """Return by how much weights differ, whatever the order of the axes and the factors of the channels."""
    channels = mine.values.shape[mine.axis]
    axes = [axis for axis, size in enumerate(other.shape) if size == channels]
    ours = _rows(mine.values, mine.axis)
    return min((_apart(ours, _rows(other, axis)) for axis in axes), default=np.inf)


def _rows(values: Weights, axis: int) -> Weights:
    """Return [channels, rest]: the magnitudes of each output channel's weights, ascending, of length 1; zeros stay."""
    rows = np.sort(np.abs(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Weights = rows / np.where(lengths > 0, lengths, 1)
    return scaled


def _apart(ours: Weights, theirs: Weights) -> float:
    """Return the largest difference; channels that are zero on one side, as after a BatchNorm of zero, say nothing."""
    told = ours.any(1) & theirs.any(1)
    if not told.any():
        return 0.0 if ours.any() == theirs.any() else np.inf
    return float(np.abs(ours[told] - theirs[told]).max())


def _refused(target: str, why: str) -> ExportError:
    return ExportError(
        target, "quantise", f"{why}, so that none can be kept in float: choose another precision than mixed"
    )


def _difference(layers: Sequence[Layer], theirs: Sequence[Weights]) -> str:
    for layer, each in zip(layers, theirs, strict=False):
        if _plain(layer.shape) != _plain(each.shape):
            return f"layer {layer.name} has weights {layer.shape} in torch and {each.shape} in the artifact"
    return f"the network has {len(layers)} layers and the artifact {len(theirs)}"


def _plain(shape: Shape) -> Shape:
    """Return the shape whatever the order of its axes: formats order them in their own ways."""
    return tuple(sorted(length for length in shape if length > 1))
