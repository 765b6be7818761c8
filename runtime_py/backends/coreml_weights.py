"""In what types a Core ML program stores its weights."""

from __future__ import annotations

import numpy as np

from runtime_py.backends.weights import Stored, stored
from runtime_py.mil_executor.program import Operation, Program


def read_weights(program: Program) -> list[Stored]:
    """Return the program's constants of two or more dimensions, and the weights that are unfolded when it loads."""
    constants = [
        weight
        for each in program.constants.values()
        if isinstance(each, np.ndarray)
        for weight in stored(each.dtype.name, each.shape)
    ]
    folded = [
        weight
        for operation in program.operations
        if operation.kind.startswith("constexpr_")
        for weight in _folded(operation)
    ]
    return [*constants, *folded]


def _folded(operation: Operation) -> list[Stored]:
    """Return what an operation unfolds. Up to iOS17 indices and masks are bytes, with a shape."""
    arrays = {
        name: argument
        for name, arguments in operation.operands.items()
        for argument in arguments
        if isinstance(argument, np.ndarray)
    }
    if operation.kind == "constexpr_lut_to_dense" and "shape" in arrays:
        bits = (arrays["lut"].size - 1).bit_length()
        return stored(f"uint{bits}", arrays["shape"].tolist())
    if operation.kind == "constexpr_sparse_to_dense" and "shape" in arrays:
        return stored(arrays["nonzero_data"].dtype.name, arrays["shape"].tolist())
    return [weight for each in arrays.values() for weight in stored(each.dtype.name, each.shape)]
