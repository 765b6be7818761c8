"""Cost graphs of an encoder's subnetworks, traced once and shared by every profile of a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from prunnet.cost import CostGraph, trace

if TYPE_CHECKING:
    from prunnet.solver.protocol import Prunable

_Key = tuple[float, int, tuple[int, int, int]]
_GRAPHS: WeakKeyDictionary[Prunable, dict[_Key, CostGraph]] = WeakKeyDictionary()


def subnetwork_graph(prunable: Prunable, capacity: float, multiple: int) -> CostGraph:
    """Return the cost graph of a subnetwork; traced on first use, kept for as long as the encoder lives.

    Args:
        prunable: The encoder. Its shapes must not change.
        capacity: One of `prunable.capacities(multiple)`.
        multiple: Channel multiple.
    """
    graphs = _GRAPHS.setdefault(prunable, {})
    key = (capacity, multiple, prunable.input_shape)
    if key not in graphs:
        cut = prunable.at(capacity, multiple)
        graphs[key] = trace(cut.skeleton(), prunable.input_shape, cut.zeros())
    return graphs[key]
