"""In what an artifact stores its weights, against the precision that its manifest states."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from runtime_py.bundle.manifest import Precision
from runtime_py.errors import BundleError

_BITS = {"float32": 32, "float16": 16, "int8": 8, "uint8": 8, "uint6": 6, "int4": 4, "uint4": 4}
_PALETTES: dict[Precision, int] = {"palette6": 6, "palette4": 4}
"""Bits of the quantised weights, where they are not int8's."""
_LARGE = 2048
"""Elements. What is no larger may stay as it was where weights are quantised (Core ML's threshold)."""


class Stored(NamedTuple):
    """A constant tensor of two or more dimensions."""

    dtype: str
    """As numpy names it."""
    elements: int


def stored(dtype: str, shape: Iterable[int]) -> list[Stored]:
    """Return a tensor as one of the weights; an empty list if it is none: a bias, an index, a table of another type."""
    sizes = list(shape)
    return [Stored(dtype, math.prod(sizes))] if len(sizes) > 1 and dtype in _BITS else []


def expect_precision(artifact: Path, stated: Precision, weights: Iterable[Stored]) -> None:
    """Refuse an artifact that stores its weights otherwise than its manifest says.

    Only what is certain is refused: small layers may keep a wider type than the rest, and some formats show no
    weights at all.

    Args:
        artifact: Its file or folder.
        stated: By the manifest.
        weights: Every weight that the format shows.

    Raises:
        BundleError: Most elements of an fp32 artifact have fewer bits, the large weights of an fp16 artifact have more
            and none is as stated, or a quantised artifact has large weights and none of any size is as stated.
    """
    listed = list(weights)
    elements: Counter[int] = Counter()
    for each in listed:
        elements[_BITS[each.dtype]] += each.elements
    widest = max((_BITS[each.dtype] for each in listed if each.elements > _LARGE), default=0)
    narrow = sum(count for bits, count in elements.items() if bits <= 8)
    if stated == "fp32":
        wrong = narrow + elements[16] > elements[32]
    elif stated == "fp16":
        wrong = narrow > elements[16] + elements[32] or (widest > 16 and not elements[16])
    else:
        wrong = bool(widest) and not elements[_PALETTES.get(stated, 8)]
    if wrong:
        found = ", ".join(f"{count:,} of {bits} bits" for bits, count in sorted(elements.items()))
        raise BundleError(artifact, f"its manifest says {stated}, its weights are stored otherwise ({found})")
