"""Predicts latency: a roofline per op."""

from __future__ import annotations

from prunnet.cost.graph import CostGraph, Op
from prunnet.cost.width import Width
from prunnet.profile.latency import LatencyModel


def latency_ms(graph: CostGraph, model: LatencyModel, width: Width) -> float:
    """Return the predicted milliseconds of one query (batch 1).

    t0 + sum over ops of max(MACs / throughput of the kind, bytes / bandwidth) + overhead per op.

    Args:
        graph: Fused cost graph.
        model: Coefficients of the device, target and precision.
        width: Bytes per element at the precision.
    """
    return model.t0_ms + sum(op_ms(op, model, width) for op in graph.ops)


def op_ms(op: Op, model: LatencyModel, width: Width) -> float:
    """Return the predicted milliseconds of one op."""
    compute = op.macs / (getattr(model.gmacs_per_s, op.kind) * 1e6) if op.macs else 0.0
    traffic = width.of_traffic(op) / (model.bandwidth_gb_per_s * 1e6)
    return max(compute, traffic) + model.per_op_ms
