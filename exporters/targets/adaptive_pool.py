"""Writes adaptive maximum pools as maxima over fixed windows, which every target has.

R-MAC and its relatives pool this way; ExecuTorch's core operations do not hold the adaptive form.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from exporters.targets.retraced import kind_of, rewritten, shape_of

if TYPE_CHECKING:
    import torch

MOST_WINDOWS = 256
"""Of one pool; a graph of more is refused by the target itself."""


def with_fixed_windows(module: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """Return a module that computes the same, bit for bit, with fixed windows; the module itself if it has them.

    Args:
        module: Takes `example`.
        example: float32 [1, 3, H, W].
    """
    return rewritten(module, example, _is_adaptive_maximum, _replace)


def _is_adaptive_maximum(node: Any) -> bool:
    if kind_of(node) != "adaptive_max_pool2d" or node.op != "call_function":
        return False
    high, wide = node.args[1]
    # The places of the maxima come out beside them; nobody may ask for them.
    values_only = all(u.target is operator.getitem and (u.args[1] == 0 or not u.users) for u in node.users)
    return values_only and len(shape_of(node.args[0])) == 4 and high * wide <= MOST_WINDOWS


def _replace(graph: Any, node: Any) -> None:
    import torch

    source, (high, wide) = node.args[0], node.args[1]
    height, width = shape_of(source)[2:]
    aten = torch.ops.aten
    with graph.inserting_before(node):
        rows = []
        for top, bottom in _windows(height, high):
            band = graph.call_function(aten.slice.Tensor, (source, 2, top, bottom))
            band = graph.call_function(aten.amax.default, (band, [2], True))
            cells = []
            for left, right in _windows(width, wide):
                cell = graph.call_function(aten.slice.Tensor, (band, 3, left, right))
                cells.append(graph.call_function(aten.amax.default, (cell, [3], True)))
            rows.append(_joined(graph, cells, 3))
        pooled = _joined(graph, rows, 2)
    for user in list(node.users):
        if user.args[1] == 0:
            user.replace_all_uses_with(pooled)
        graph.erase_node(user)
    graph.erase_node(node)


def _joined(graph: Any, parts: list[Any], dim: int) -> Any:
    import torch

    return parts[0] if len(parts) == 1 else graph.call_function(torch.ops.aten.cat.default, (parts, dim))


def _windows(length: int, count: int) -> list[tuple[int, int]]:
    """Return torch's windows: from floor(i * length / count) to ceil((i + 1) * length / count)."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
