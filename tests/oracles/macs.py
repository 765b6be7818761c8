"""Slow references for the cost graph: what a module really multiplies, and what must be alive when."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunnet.cost import CostGraph


def macs_by_hooks(module: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Run one real image and count each layer's multiply-accumulates output element by output element."""
    total = 0

    def conv(layer: nn.Conv2d, _: object, out: Tensor) -> None:
        nonlocal total
        taps = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        total += sum(taps for _ in range(out.numel()))

    def linear(layer: nn.Linear, _: object, out: Tensor) -> None:
        nonlocal total
        total += sum(layer.in_features for _ in range(out.numel()))

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(conv)
        elif isinstance(part, nn.Linear):
            part.register_forward_hook(linear)
    with torch.no_grad():
        module(torch.rand(1, *input_shape) * 255)
    return total


def folded_parameters(module: nn.Module) -> int:
    """Parameters after BatchNorm is folded: it leaves one bias per channel behind a layer that has none."""
    total, biased = 0, True
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            biased = part.bias is not None
            total += part.weight.numel() + (part.bias.numel() if part.bias is not None else 0)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            total += 0 if biased else part.num_features
        elif isinstance(part, nn.LayerNorm):
            total += 2 * part.normalized_shape[0]
    return total


def live_elements(graph: CostGraph) -> tuple[int, ...]:
    """Ask of every tensor at every step whether somebody has written it and somebody will still read it."""
    answer = []
    for step in range(len(graph.ops)):
        alive = 0
        for index, elements in enumerate(graph.tensors):
            written = index == 0 or any(index in op.outputs for op in graph.ops[: step + 1])
            now = index in graph.ops[step].outputs
            wanted = any(index in op.inputs for op in graph.ops[step:]) or index in graph.results
            alive += elements if written and (wanted or now) else 0
        answer.append(alive)
    return tuple(answer)
