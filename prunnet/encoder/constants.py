"""Tensors that a network reads and that nothing stores: plain attributes, buffers that are not persistent, literals.

Another value of theirs is another function, which a few pictures need not show: a limit that none of them reaches.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_BEGINS, _EXACT = "constant(", "bits="
_NUMBER = re.compile(r"[-+]?(?:inf|nan|\d+(?:\.\d+)?(?:e[-+]?\d+)?)")
_CLOSE = 1e-4
"""Largest difference of two summaries, as a share of the largest value: constants that are computed differ in their
last bits from machine to machine. Those of ten timm models did not, with torch's kernels for SSE, AVX2 and AVX-512."""


class Constants:
    """Tells which of the tensors that operations read were there before, and are not stored.

    Args:
        stored: The input, and all that the state dict holds.
    """

    def __init__(self, stored: Iterable[Tensor]) -> None:
        self._known = WeakTensorKeyDictionary()
        self._memory = set()
        for tensor in stored:
            self._known[tensor] = True
            self._memory.add(_place(tensor))

    def first_read(self, arguments: object) -> list[str]:
        """Describe the constants among an operation's arguments that no earlier one read."""
        said = []
        for tensor in _tensors(arguments):
            if tensor not in self._known and _place(tensor) not in self._memory:
                said.append(f"{_BEGINS}{list(tensor.shape)}, {_summary(tensor.detach())})")
            self._known[tensor] = True
        return said

    def made(self, out: object) -> None:
        """Note what an operation returned."""
        for tensor in _tensors(out):
            self._known[tensor] = True


def is_constant(line: str) -> bool:
    """Tell whether a line of a computation describes a constant."""
    return line.partition(": ")[2].startswith(_BEGINS)


def different_constants(found: Iterable[str], stored: Iterable[str]) -> list[str]:
    """Describe in words where the constants of two computations of the same operations differ.

    Releases before constants were noted stored none, and torch's releases turn different numbers into tensors. So
    nothing is compared unless there are as many of both.
    """
    here, there = (
        [line for line in found if is_constant(line)],
        [line for line in stored if is_constant(line)],
    )
    if len(here) != len(there):
        return []
    said = []
    for a, b in zip(here, there, strict=True):
        (where, _, mine), (_, _, other) = a.partition(": "), b.partition(": ")
        if not _alike(mine, other):
            said.append(f"{where or 'the encoder'} reads {mine}, the package was made with {other}")
    return said


def _alike(mine: str, other: str) -> bool:
    (shape, _, mine), (wanted, _, other) = mine.partition("], "), other.partition("], ")
    if shape != wanted or _NUMBER.sub("", mine) != _NUMBER.sub("", other):
        return False
    a, b = ([float(n) for n in _NUMBER.findall(text)] for text in (mine, other))
    largest = max((abs(n) for n in a + b if math.isfinite(n)), default=0.0)
    slack = 0.0 if mine.startswith(_EXACT) else _CLOSE * largest
    return all(m == n or abs(m - n) <= slack for m, n in zip(a, b, strict=True))


def _summary(tensor: Tensor) -> str:
    """Describe what a tensor holds in a few words; of integers and truth values each bit counts."""
    values = tensor.cpu().flatten()
    if values.is_complex():
        values = torch.view_as_real(values).flatten()
    if not values.is_floating_point():
        return f"{_EXACT}{zlib.crc32(values.to(torch.int64).numpy().astype('<i8').tobytes())}"
    wide = values.double()
    if wide.numel() == 1:
        return f"value={float(wide):.6g}"
    finite = wide.isfinite()
    wide = torch.where(finite, wide, 0.0)
    wave = torch.cos(1.7 * torch.arange(len(wide), dtype=torch.float64))  # tells the order
    figures = {
        "least": wide.amin(),
        "most": wide.amax(),
        "mean": wide.mean(),
        "wave": (wide * wave).mean(),
    }
    said = ", ".join(f"{name}={float(figure):.6g}" for name, figure in figures.items())
    return said + (f", infinite={int((~finite).sum())}" if not finite.all() else "")


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.numel() and value.layout == torch.strided:
            yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
