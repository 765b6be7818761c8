"""Kernels of MIL operations by family; importing this package fills `runtime_py.mil_executor.registry.KERNELS`.

Each computes what the MIL specification says, in float32; the executor rounds its results.
"""

from runtime_py.mil_executor.ops import (
    activation,
    constexpr,
    conv,
    elementwise,
    indexing,
    linear,
    norm,
    pool,
    quantize,
    reduce,
    resize,
    shape,
    slicing,
)

__all__ = [
    "activation",
    "constexpr",
    "conv",
    "elementwise",
    "indexing",
    "linear",
    "norm",
    "pool",
    "quantize",
    "reduce",
    "resize",
    "shape",
    "slicing",
]
