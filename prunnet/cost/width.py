"""Bytes per element at each precision."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from prunnet.cost.graph import Op
from prunnet.cost.zeros import leaves_out
from runtime_py.bundle.manifest import Precision, Target


@dataclass(frozen=True)
class Width:
    """Bytes per element of what an artifact stores and a runtime moves."""

    weight: float
    bias: int
    channel: int
    """Bytes per output channel besides the weights: an int8 scale."""
    activation: int
    whole: int = 0
    """Compression by size: tensors of more elements than this are compressed, whatever they are, and no other."""
    table: int = 0
    """Bytes of a compressed tensor's palette."""
    linear_alone: bool = False
    """Linear layers are compressed, convolutions are not: their weights are stored like biases."""
    mask: int = 0
    """Bytes that a layer's mask takes besides its bits, where zeros are left out of the file; 0: they are stored."""

    def of_file(self, op: Op) -> int:
        """Return the bytes that the artifact stores for the op."""
        dense = self.of_weights(op)
        if not self.mask or not leaves_out(op.weights, op.zeros, self.weight, self.mask):
            return dense
        return dense - math.floor(op.zeros * self.weight) + math.ceil(op.weights / 8) + self.mask

    def of_weights(self, op: Op) -> int:
        """Return the bytes of the op's weights, zeros included: what a runtime reads that unfolds them."""
        if self.linear_alone and op.kind != "matmul":
            return (op.weights + op.biases + op.constants) * self.bias
        if not self.whole:
            stored = math.ceil(op.weights * self.weight) + (op.biases + op.constants) * self.bias
            return stored + op.channels * self.channel
        sizes = (op.weights, op.biases, op.constants)
        return sum(self._of_tensor(size) for size in sizes) + op.channels * self.channel

    def _of_tensor(self, size: int) -> int:
        return math.ceil(size * self.weight) + self.table if size > self.whole else size * self.bias

    def of_traffic(self, op: Op) -> int:
        """Return the bytes that the op reads and writes."""
        return self.of_weights(op) + (op.input_elements + op.output_elements) * self.activation


WIDTHS: dict[Precision, Width] = {
    "fp32": Width(weight=4, bias=4, channel=0, activation=4),
    "fp16": Width(weight=2, bias=2, channel=0, activation=2),
    "int8": Width(weight=1, bias=4, channel=4, activation=1),
    # As if two thirds of the weights, and all that flows between layers, stayed in float: so much did of the built-in
    # encoder where a tolerance of 0.9997 kept 11 of its 23 layers there. How much really does is known when the export
    # has searched; the measured artifact is held against the budgets.
    "mixed": Width(weight=3, bias=4, channel=4, activation=4),
    "int8-dynamic": Width(weight=1, bias=4, channel=4, activation=4),
    "int8-weights": Width(weight=1, bias=2, channel=3, activation=2, whole=2048),
    "palette6": Width(weight=0.75, bias=2, channel=0, activation=2, whole=2048, table=128),
    "palette4": Width(weight=0.5, bias=2, channel=0, activation=2, whole=2048, table=32),
}

BY_TARGET: dict[tuple[Target, Precision], Width] = {
    # A mask besides its bits: a record in the weights' file, an operation and its names; where what is kept is
    # compressed, another operation. Measured with the nets of benchmarks/sparse_weights.py, within 40 bytes.
    ("coreml", "fp32"): replace(WIDTHS["fp32"], mask=230),
    ("coreml", "fp16"): replace(WIDTHS["fp16"], mask=230),
    ("coreml", "int8-weights"): replace(WIDTHS["int8-weights"], mask=370),
    ("coreml", "palette6"): replace(WIDTHS["palette6"], mask=610),
    ("coreml", "palette4"): replace(WIDTHS["palette4"], mask=610),
    ("executorch", "int8-dynamic"): replace(WIDTHS["int8-dynamic"], linear_alone=True),
    ("tflite", "int8-weights"): Width(weight=1, bias=4, channel=4, activation=4),
}
"""Precisions that a target stores otherwise than the others do."""


def width_of(target: Target, precision: Precision) -> Width:
    """Return what a target's artifact stores at a precision."""
    return BY_TARGET.get((target, precision), WIDTHS[precision])
