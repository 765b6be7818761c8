"""Rewrites the graph of a module, and gives a plain module back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Concerns = Callable[[Any], bool]
Rewrite = Callable[[Any, Any], None]


def rewritten(
    module: torch.nn.Module, example: torch.Tensor, concerns: Concerns, rewrite: Rewrite
) -> torch.nn.Module:
    """Return a module whose graph had some nodes rewritten; the module itself if none is concerned.

    Args:
        module: Takes `example`.
        example: An input.
        concerns: Whether a node of the graph is to be rewritten.
        rewrite: Takes the graph and such a node, and replaces it.
    """
    import torch

    program = torch.export.export(module, (example,))
    if not any(concerns(node) for node in program.graph_module.graph.nodes):
        return module
    traced = program.module()
    graph = traced.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
        elif concerns(node):
            rewrite(graph, node)
    graph.lint()
    # What export returns refuses `eval`, which converters call.
    plain = torch.fx.GraphModule(traced, graph)
    plain.recompile()
    return plain


def kind_of(node: Any) -> str:
    """Return the name of the ATen operation of a node, empty for any other node."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if node.op == "call_function" and packet is not None else ""


def shape_of(node: Any) -> tuple[int, ...]:
    """Return the shape of a node's tensor, empty if it has none."""
    value: Any = node.meta.get("val") if hasattr(node, "meta") else None
    return tuple(value.shape) if hasattr(value, "shape") else ()
