"""Byte sizes with units, as profiles write them."""

from __future__ import annotations

import re
from typing import Self

BYTES_PER_UNIT = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
ALLOWED_SIZES = "a number above 0 with a unit: " + ", ".join(BYTES_PER_UNIT) + " (e.g. 12MiB, 900KiB, 1.5MB)"
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)")


class Bytes(int):
    """Whole bytes that remember the unit in which they were written.

    Args:
        size: Bytes.
        unit: A key of `BYTES_PER_UNIT`.
    """

    def __new__(cls, size: int, unit: str = "B") -> Self:
        """Return the size with its unit."""
        made = super().__new__(cls, size)
        made.unit = unit
        return made

    unit: str


def parse_bytes(text: object) -> Bytes:
    """Return the bytes that a size means.

    Args:
        text: For example "12MiB" (12 x 2**20) or "1MB" (10**6).

    Returns:
        Whole bytes, at least 1, with their unit.

    Raises:
        ValueError: Not a size, no unit, an unknown unit, or less than one byte.

    Example:
        >>> parse_bytes("1.5KiB")
        1536
    """
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] not in BYTES_PER_UNIT:
        raise ValueError(f"not a size; allowed: {ALLOWED_SIZES}")
    size = round(float(match[1]) * BYTES_PER_UNIT[match[2]])
    if size < 1:
        raise ValueError(f"less than one byte; allowed: {ALLOWED_SIZES}")
    return Bytes(size, match[2])


def format_bytes(size: float, unit: str | None = None) -> str:
    """Return a size for people: "12.0 MiB".

    Args:
        size: Bytes, at least 0.
        unit: The unit to say it in, a key of `BYTES_PER_UNIT`; None takes the largest binary one that fits.

    Example:
        >>> format_bytes(1536)
        '1.5 KiB'
    >>> format_bytes(12_500_000, "MB")
    '12.5 MB'
    """
    if unit is not None and unit != "B":
        return f"{size / BYTES_PER_UNIT[unit]:.1f} {unit}"
    for known in ("GiB", "MiB", "KiB") if unit is None else ():
        if size >= BYTES_PER_UNIT[known]:
            return f"{size / BYTES_PER_UNIT[known]:.1f} {known}"
    return f"{size:.0f} B"


def exact_bytes(size: int) -> str:
    """Return the shortest text that `parse_bytes` reads back as exactly `size`.

    Args:
        size: Whole bytes, at least 1.

    Example:
        >>> exact_bytes(12 * 2**20), exact_bytes(1001)
        ('12MiB', '1001B')
    """
    for unit in ("GiB", "MiB", "KiB", "GB", "MB", "kB"):
        if size % BYTES_PER_UNIT[unit] == 0:
            return f"{size // BYTES_PER_UNIT[unit]}{unit}"
    return f"{size}B"
