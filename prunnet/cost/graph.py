"""The cost graph of one module: what its ops compute, hold and read, independent of device and precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal[
    "conv",
    "pointwise",
    "depthwise",
    "matmul",
    "norm",
    "activation",
    "elementwise",
    "pool",
    "softmax",
    "copy",
    "other",
]
"""`pointwise` is a convolution of kernel size 1, `depthwise` one of a single input channel a group."""
WEIGHTED: frozenset[Kind] = frozenset({"conv", "pointwise", "depthwise", "matmul"})
"""The kinds that multiply by a weight tensor, or could."""


@dataclass(frozen=True, slots=True)
class Op:
    """One op as a mobile runtime executes it, after fusion; sizes in elements."""

    name: str
    """The aten name, with what was fused into it: "convolution+batch_norm+relu"."""
    kind: Kind
    macs: int
    """Multiply-accumulates of convolutions and matrix products; 0 for everything else."""
    weights: int
    """Elements of the convolution's or matrix product's own weight tensor."""
    biases: int
    """Elements of every other parameter: biases, scales, position embeddings."""
    constants: int
    """Elements of buffers that are stored in the artifact, e.g. the pixels' mean."""
    channels: int
    """Output channels of the weight tensor: int8 stores one scale for each. 0 without weights."""
    inputs: tuple[int, ...]
    """Indices into `CostGraph.tensors` of the activations that are read."""
    outputs: tuple[int, ...]
    """Indices into `CostGraph.tensors` of the activations that are written."""
    input_elements: int
    output_elements: int
    zeros: int = 0
    """How many of `weights` a mask sets to zero."""

    @property
    def parameters(self) -> int:
        """Learnt parameters that the artifact stores for the op."""
        return self.weights + self.biases


@dataclass(frozen=True)
class CostGraph:
    """Ops in execution order and the sizes of the activations between them, for one query (batch 1)."""

    input_shape: tuple[int, ...]
    """(3, H, W)."""
    ops: tuple[Op, ...]
    tensors: tuple[int, ...]
    """Elements of every activation. Index 0 is the image."""
    results: tuple[int, ...]
    """Indices of the activations that the module returns."""

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one query."""
        return sum(op.macs for op in self.ops)

    @cached_property
    def parameters(self) -> int:
        """Learnt parameters that the artifact stores (BatchNorm folded, shared tensors counted once)."""
        return sum(op.parameters for op in self.ops)

    @cached_property
    def live_elements(self) -> tuple[int, ...]:
        """Elements that must exist while each op runs: its inputs, its outputs and what later ops read."""
        born, last = {0: 0}, {0: 0}
        for step, op in enumerate(self.ops):
            for index in op.outputs:
                born.setdefault(index, step)
                last[index] = max(step, last.get(index, step))
            for index in op.inputs:
                last[index] = step
        for index in self.results:
            last[index] = len(self.ops) - 1
        change = [0] * (len(self.ops) + 1)
        for index, step in born.items():
            change[step] += self.tensors[index]
            change[last[index] + 1] -= self.tensors[index]
        live, running = [], 0
        for step in range(len(self.ops)):
            running += change[step]
            live.append(running)
        return tuple(live)

    @property
    def peak_elements(self) -> int:
        """The largest of `live_elements`."""
        return max(self.live_elements, default=0)
