"""In what types a Core ML program stores its weights."""

from __future__ import annotations

import numpy as np

from runtime_py.backends.weights import Stored, stored
from runtime_py.mil_executor.program import Operation, Program

_WHOLE = ("data_mask", "indices_mask", "mask", "indices")
"""Operands that have the shape of the weights."""
_KINDS = frozenset(
    {
        "constexpr_lut_to_dense",
        "constexpr_lut_to_sparse",
        "constexpr_sparse_blockwise_shift_scale",
        "constexpr_sparse_to_dense",
    }
)
"""Operations whose stored values have fewer elements, or fewer bits, than their arrays."""


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
    """Return what an operation unfolds: its weights at their full shape, in the type of the values that are stored.

    Up to iOS17 indices and masks are packed in bytes, with a shape; from iOS18 on they have sub-byte types, which are
    read as bytes. A mask is not a weight.
    """
    arrays = {
        name: argument
        for name, arguments in operation.operands.items()
        for argument in arguments
        if isinstance(argument, np.ndarray)
    }
    whole = next((arrays[name] for name in _WHOLE if name in arrays), None)
    if operation.kind not in _KINDS or whole is None:
        return [weight for each in arrays.values() for weight in stored(each.dtype.name, each.shape)]
    shape = arrays["shape"].tolist() if "shape" in arrays else whole.shape
    if "lut" in arrays:
        entries = arrays["lut"].shape[-2] if arrays["lut"].ndim > 1 else arrays["lut"].size
        return stored(f"uint{(entries - 1).bit_length()}", shape)
    if "nonzero_data" not in arrays:  # they come from another operation, which is read on its own
        return []
    return stored(arrays["nonzero_data"].dtype.name, shape)
