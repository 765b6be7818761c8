"""Cost graphs of an encoder's subnetworks, traced once and shared by every profile of a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from prunnet.cost import CostGraph, trace
from prunnet.encoder.raw_input import INNER, RawInput

if TYPE_CHECKING:
    from prunnet.profile import DeviceProfile
    from prunnet.solver.protocol import Prunable

_Key = tuple[float, int, tuple[int, int, int], RawInput | None]
_GRAPHS: WeakKeyDictionary[Prunable, dict[_Key, CostGraph]] = WeakKeyDictionary()


def raw_input_of(prunable: Prunable, profile: DeviceProfile) -> RawInput | None:
    """Return the resize that a profile puts in front of an encoder; None without `raw_input`."""
    frame = profile.raw_input
    return None if frame is None else RawInput((frame.height, frame.width), prunable.framing)


def subnetwork_graph(
    prunable: Prunable, capacity: float, multiple: int, raw: RawInput | None = None
) -> CostGraph:
    """Return the cost graph of a subnetwork; traced on first use, kept for as long as the encoder lives.

    Args:
        prunable: The encoder. Its shapes must not change.
        capacity: One of `prunable.capacities(multiple)`.
        multiple: Channel multiple.
        raw: The resize in front of it; None if the artifact takes pictures of the encoder's size.
    """
    graphs = _GRAPHS.setdefault(prunable, {})
    key = (capacity, multiple, prunable.input_shape, raw)
    if key not in graphs:
        cut = prunable.at(capacity, multiple)
        if raw is None:
            graphs[key] = trace(cut.skeleton(), prunable.input_shape, cut.zeros())
        else:
            module = raw.before(cut.skeleton()).to("meta").eval()
            zeros = {f"{INNER}.{name}": count for name, count in cut.zeros().items()}
            graphs[key] = trace(module, (3, *raw.size), zeros)
    return graphs[key]
