"""How a Core ML file leaves out the zeros of masked weights: a bit for each weight, and the values that are kept.

The exporter leaves out by these rules, and the cost model counts by them. A layer is stored without its zeros where
they take twice what the bits take, and the bits take more than the mask does besides: so it never gets larger by it.
"""

from __future__ import annotations

LEAST = 2048
"""Layers of no more weights stay as they are: tables, scales and masks would eat what they save."""


def least_weights(mask: int) -> int:
    """Return the weights above which a layer may have a mask.

    Args:
        mask: Bytes that a mask takes besides its bits.
    """
    return max(LEAST, 8 * mask)


def least_zeros(width: float) -> float:
    """Return the share of zeros from which on a layer is stored without them.

    Args:
        width: Bytes of a weight that is kept.
    """
    return 2 / 8 / width


def leaves_out(weights: int, zeros: int, width: float, mask: int) -> bool:
    """Tell whether a layer with so many weights, so many of them zero, is stored without its zeros."""
    return weights > least_weights(mask) and zeros >= least_zeros(width) * weights
