"""The layers of a network: each operation with weights, and what follows it up to the next one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.errors import ExportError
from exporters.targets.retraced import kind_of, shape_of
from prunnet.encoder.raw_input import FILTER

if TYPE_CHECKING:
    import torch

_WEIGHTED = {"conv1d": 1, "conv2d": 1, "conv3d": 1, "convolution": 1, "conv_transpose1d": 1, "conv_transpose2d": 1,
             "linear": 1, "matmul": 1, "mm": 1, "addmm": 2}  # fmt: skip
"""ATen operation -> place of its weights among the arguments."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """An operation with weights.

    Args:
        name: Path of its module in torch, e.g. "backbone.blocks.0.conv".
        shape: Shape of its weights, in any order of the axes.
    """

    name: str
    shape: Shape


CHANNEL_AXIS = {"conv_transpose1d": 1, "conv_transpose2d": 1, "matmul": 1, "mm": 1, "addmm": 1}
"""Operation -> axis of the output channels in its weights, where that is not the first."""


def weights_of(node: Any) -> Any:
    """Return the node of an operation's weights; None if it has no constant ones, or resizes the input."""
    place = _WEIGHTED.get(kind_of(node))
    if place is None or len(node.args) <= place or not is_constant(node.args[place]):
        return None
    return None if _name(node.args[place]).endswith(FILTER) else node.args[place]


def is_constant(node: Any) -> bool:
    """Tell whether a node's value does not depend on the picture."""
    seen, left = set[Any](), [node]
    while left:
        each = left.pop()
        if each.op not in {"get_attr", "call_function"}:
            return False
        if each not in seen:
            seen.add(each)
            left.extend(each.all_input_nodes)
    return True


def owners(graph: torch.fx.Graph) -> dict[Any, Layer | None]:
    """Return each operation's layer: the last one with weights up to it, in the order in which they run.

    Args:
        graph: Of `torch.export.export(...).module()`.

    Returns:
        Node -> layer. None before the first and after the last operation with weights: both ends stay in float.
    """
    nodes = [node for node in graph.nodes if node.op == "call_function" and not is_constant(node)]
    last = max((place for place, node in enumerate(nodes) if weights_of(node) is not None), default=-1)
    owned: dict[Any, Layer | None] = {}
    current: Layer | None = None
    for place, node in enumerate(nodes):
        weights = weights_of(node)
        if weights is not None:
            current = Layer(_name(weights), shape_of(weights))
        owned[node] = current if place <= last else None
    return owned


def layers_of(module: torch.nn.Module, example: torch.Tensor) -> tuple[Layer, ...]:
    """Return the layers in the order in which they run; one that runs twice stands there twice.

    Args:
        module: Takes `example`.
        example: An input.
    """
    import torch

    graph = torch.export.export(module, (example,)).module().graph
    owned = owners(graph)
    return tuple(layer for node, layer in owned.items() if layer and weights_of(node) is not None)


def check_names(target: str, layers: Sequence[Layer], names: Collection[str]) -> None:
    """Raise ExportError unless every name is a layer's."""
    known = dict.fromkeys(layer.name for layer in layers)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ExportError(
            target, "quantise", f"not layers of the network: {', '.join(unknown)}; it has {', '.join(known)}"
        )


def _name(weights: Any) -> str:
    """Return the path of the module that holds the weights, or of the first tensor that they are made of."""
    return str(next(_tensors(weights)).target).removesuffix(".weight")


def _tensors(node: Any) -> Iterator[Any]:
    if node.op == "get_attr":
        yield node
    for each in node.all_input_nodes:
        yield from _tensors(each)
