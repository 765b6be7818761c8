"""Fuses ops as the mobile runtimes do: BatchNorm into convolutions, clamps into the op before them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from prunnet.cost.graph import WEIGHTED, CostGraph, Op
from prunnet.cost.rules import BATCH_NORMS, FUSIBLE_ACTIVATIONS

_HOSTS_OF_ACTIVATION = WEIGHTED | {"elementwise"}


def fuse(graph: CostGraph) -> CostGraph:
    """Return the graph with BatchNorm folded and clamping activations fused.

    A folded BatchNorm leaves one bias per channel and no statistics. One that cannot be folded (its input is
    read by others too, or is no convolution) becomes a scale and a shift: two parameters per channel.

    Args:
        graph: As traced, one op per aten call.
    """
    readers = Counter(index for op in graph.ops for index in op.inputs)
    readers.update(graph.results)
    ops: list[Op] = []
    producer: dict[int, int] = {}
    for op in graph.ops:
        host = _host(op, ops, producer, readers)
        if host is None:
            ops.append(_affine(op) if op.name in BATCH_NORMS else op)
            position = len(ops) - 1
        else:
            position = host
            ops[host] = _merge(ops[host], op)
        for index in op.outputs:
            producer[index] = position
    return replace(graph, ops=tuple(ops))


def _host(op: Op, ops: list[Op], producer: dict[int, int], readers: Counter[int]) -> int | None:
    if len(op.inputs) != 1 or readers[op.inputs[0]] != 1 or op.inputs[0] not in producer:
        return None
    position = producer[op.inputs[0]]
    host = ops[position]
    if op.name in BATCH_NORMS:
        clean = not any(name in host.name for name in FUSIBLE_ACTIVATIONS)
        return position if host.kind in WEIGHTED and host.weights and clean else None
    if op.name in FUSIBLE_ACTIVATIONS and not op.parameters and host.kind in _HOSTS_OF_ACTIVATION:
        return position
    return None


def _merge(host: Op, op: Op) -> Op:
    biases = host.channels if op.name in BATCH_NORMS else host.biases
    return replace(host, name=f"{host.name}+{op.name}", biases=biases, outputs=op.outputs)


def _affine(op: Op) -> Op:
    channels = max(op.biases, op.constants) // 2
    return replace(op, biases=2 * channels, constants=0)
