"""What a subnetwork costs: traced once, estimated for any profile, target and precision."""

from prunnet.cost.estimate import estimate
from prunnet.cost.exported import graph_of, trace_exported
from prunnet.cost.graph import CostGraph, Op
from prunnet.cost.trace import trace

__all__ = ["CostGraph", "Op", "estimate", "graph_of", "trace", "trace_exported"]
