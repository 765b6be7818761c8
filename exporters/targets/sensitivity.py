"""How much an embedding moves when one layer alone is int8: what `mixed` keeps in float first.

Nothing of a target is in here. The network is executed in torch, operation by operation; of one layer the weights, the
input and all results are rounded as an int8 artifact rounds them: weights per channel, activations per tensor, at the
ranges that the same pictures gave. A result that a runtime never stores (a convolution's before its BatchNorm or its
activation) is not rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Interpreter, Node

from exporters.targets.layers import CHANNEL_AXIS, is_constant, owners, weights_of
from exporters.targets.retraced import kind_of

PICTURES = 16
"""Pictures that the effect is measured on."""

_ACTIVATIONS = ("relu", "hardtanh", "clamp")
_BATCH_NORM = "_native_batch_norm_legit_no_training"
_MOVES = ("view", "reshape", "permute", "transpose", "unbind", "clone", "expand", "slice", "select", "split")
"""Operations whose result holds nothing but values that were rounded before."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Sensitivity:
    """What one layer costs.

    Args:
        layer: Its name in torch.
        effect: 1 - cosine, mean over the pictures, of the embedding with this layer in int8.
    """

    layer: str
    effect: float


def sensitivities(
    module: torch.nn.Module, images: NDArray[np.uint8], unlike: NDArray[np.uint8]
) -> list[Sensitivity]:
    """Return every layer with its effect, the most sensitive first; ties in the order in which they run.

    Args:
        module: float32 [N, 3, H, W] in 0..255 -> unit-length float32 [N, D]; in eval mode.
        images: uint8 [C, H, W, 3], real pictures, which give the ranges; 16 of them, evenly spread, are used.
        unlike: uint8 [S, H, W, 3], pictures that go beyond those ranges; the effect is measured on both.
    """
    chosen = np.linspace(0, len(images) - 1, min(len(images), PICTURES)).round().astype(int)
    network = RoundedNetwork(module, np.asarray(images[chosen], np.uint8), unlike)
    exact = network.run(()).double()
    effects = [
        Sensitivity(name, float((1 - (exact * network.run({name}).double()).sum(1)).mean()))
        for name in network.layers
    ]
    return sorted(effects, key=lambda each: -each.effect)


class RoundedNetwork:
    """A network, some of whose layers compute in int8, on pictures that are fixed: those of the ranges, then others.

    Attributes:
        layers: Names of its layers in the order in which they run, each once.
        network: What is executed.
        nodes: Every operation of a layer -> the layer's name.
        ranges: Result that a layer takes or stores -> its smallest and largest value.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        images: NDArray[np.uint8],
        others: NDArray[np.uint8],
        find: Callable[[torch.Tensor], Range] | None = None,
    ) -> None:
        pictures = np.concatenate([images, others])
        self._pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().contiguous()
        program = torch.export.export(module, (self._pictures,)).run_decompositions({})
        self.network = program.module()
        owned = owners(self.network.graph)
        self.nodes = {node: layer.name for node, layer in owned.items() if layer is not None}
        self.layers = tuple(dict.fromkeys(self.nodes.values()))
        observer = _Observer(self.network, self.nodes, find or extremes, len(images) / len(pictures))
        self.execute(observer)
        self.ranges = observer.ranges

    def run(self, names: Collection[str]) -> torch.Tensor:
        """Return float32 [N, D], the embeddings with the named layers in int8."""
        layers = {node for node, name in self.nodes.items() if name in names}
        return self.execute(Rounder(self.network, layers, self.ranges))

    def execute(self, interpreter: Interpreter) -> torch.Tensor:
        """Return what an interpreter of the network makes of all pictures."""
        with torch.inference_mode():
            embedding: torch.Tensor = torch.utils._pytree.tree_leaves(interpreter.run(self._pictures))[0]
        return embedding


class _Observer(Interpreter):
    """Notes the range, over the first pictures, of every value that an int8 layer takes or stores."""

    def __init__(
        self, network: Any, layers: Collection[Node], find: Callable[[torch.Tensor], Range], share: float
    ) -> None:
        super().__init__(network)
        self.ranges: dict[Node, Range] = {}
        self._find, self._share = find, share
        inputs = {_input_of(node) for node in layers if weights_of(node) is not None}
        self._stored = {node for node in layers if _is_stored(node)} | inputs

    def run_node(self, n: Node) -> Any:
        value = None if n.op == "call_module" else super().run_node(n)  # guards of torch.export
        if n in self._stored and isinstance(value, torch.Tensor) and value.is_floating_point():
            self.ranges[n] = self._find(value[: round(len(value) * self._share)])
        return value


class Rounder(Interpreter):
    """Rounds the weights, the input and what is stored of some layers."""

    def __init__(self, network: Any, layers: Collection[Node], ranges: dict[Node, Range]) -> None:
        super().__init__(network)
        self._layers, self._ranges = layers, ranges

    def run_node(self, n: Node) -> Any:
        """Compute one operation, rounding what its layer rounds."""
        if n.op == "call_module":
            return None
        if n not in self._layers:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        weights = weights_of(n)
        if weights is not None:
            source = _input_of(n)
            changed = {
                source: rounded(self.env[source], self._ranges[source]),
                weights: _rounded_weights(self.env[weights], CHANNEL_AXIS.get(kind_of(n), 0)),
            }
            args = tuple(
                changed.get(given, value) if isinstance(given, Node) else value
                for given, value in zip(n.args, args, strict=True)
            )
        value = self.call_function(n.target, args, kwargs)
        return rounded(value, self._ranges[n]) if n in self._ranges and _is_stored(n) else value


def _input_of(node: Node) -> Node:
    """Return what an operation with weights is applied to."""
    return next(each for each in node.all_input_nodes if not is_constant(each))


def _is_stored(node: Node) -> bool:
    """Tell whether a runtime writes an operation's result to memory, in 8 bits."""
    kind, users = kind_of(node), list(node.users)
    if not kind:  # a part of a result: of BatchNorm's the first, of a split what was rounded before it
        parent = node.all_input_nodes[0]
        return kind_of(parent) == _BATCH_NORM and not _is_fused(users)
    if kind in _MOVES:
        return False
    fuses = weights_of(node) is not None or kind == "add"
    return not (fuses and _is_fused(users)) and not (
        fuses and len(users) == 1 and kind_of(users[0]) == _BATCH_NORM
    )


def _is_fused(users: list[Node]) -> bool:
    return len(users) == 1 and kind_of(users[0]) in _ACTIVATIONS


def extremes(values: torch.Tensor) -> Range:
    """Return the smallest and the largest value, zero included."""
    return min(float(values.min()), 0.0), max(float(values.max()), 0.0)


def rounded(value: torch.Tensor, limits: Range) -> torch.Tensor:
    """Round to 256 levels, of which one is zero."""
    low, high = limits
    scale = (high - low) / 255 or 1.0
    zero = min(127, max(-128, round(-low / scale) - 128))
    return torch.fake_quantize_per_tensor_affine(value, scale, zero, -128, 127)


def _rounded_weights(weights: torch.Tensor, axis: int) -> torch.Tensor:
    """Round to 255 levels around zero, each output channel at its own scale."""
    axes = [each for each in range(weights.ndim) if each != axis]
    scales = (weights.detach().abs().amax(axes) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weights, scales, zeros, axis, -127, 127)
