"""`model.safetensors`: read by its header first, so that nothing is loaded that does not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prunnet.errors import EncoderError, first_of
from prunnet.pruning.adapters import STORED
from runtime_py.disk.files import plain_name

SHOWN = 10
"""Tensors that do not fit, which a message lists."""

_FLOATING = {torch.float16: "F16", torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16"}
_WHOLE = {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}
_NAMES = _FLOATING | _WHOLE | {torch.complex64: "C64"}
"""How safetensors calls the types of torch."""


@dataclass(frozen=True)
class Header:
    """Names of the tensors of a file, with their types (as safetensors calls them) and shapes."""

    file: Path
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]

    @property
    def values(self) -> int:
        """Values of all tensors together."""
        return sum(math.prod(shape) for _, shape in self.tensors.values())

    def check_against(self, wanted: Mapping[str, Tensor], says: Path) -> None:
        """Raise EncoderError, which lists every tensor that is missing, unknown, or of another shape or type.

        Args:
            wanted: The state of the network that was built.
            says: The file that describes it.
        """
        problems = [f"{name} is missing" for name in wanted if name not in self.tensors]
        problems += [
            f"{name} belongs to no part of the network" for name in self.tensors if name not in wanted
        ]
        for name, (kind, shape) in self.tensors.items():
            if name not in wanted:
                continue
            tensor = wanted[name]
            if tuple(tensor.shape) != shape:
                problems.append(f"{name} has the shape {list(shape)}, the network's is {list(tensor.shape)}")
            elif kind not in {_NAMES.get(tensor.dtype), _stored_as(name, tensor)}:
                problems.append(
                    f"{name} is {kind}, the network's is {_NAMES.get(tensor.dtype, tensor.dtype)}"
                )
        if problems:
            listed = first_of(problems, SHOWN, "; ")
            raise EncoderError(
                f"{self.file}: does not fit {says}: {listed}; take the package whole from where it was trained"
            )


def read_header(file: Path) -> Header:
    """Read what tensors a file holds, and none of them.

    Raises:
        EncoderError: The file is missing or not readable.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with plain_name(file) as readable, safe_open(readable, "pt") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118, no mapping
            return Header(file, {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()})
    except FileNotFoundError as error:
        raise EncoderError(f"{file} is missing; the encoder package is not whole") from error
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise EncoderError(f"{file}: not a readable safetensors file: {error}") from error


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read all tensors of a file whose header was checked.

    Raises:
        EncoderError: It is not readable, or a value is NaN or infinite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with plain_name(file) as readable:
            tensors: dict[str, Tensor] = load_file(readable)
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{file}: not a readable safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise EncoderError(f"{file}: {name} holds NaN or infinity; take the last good checkpoint")
    return tensors


def write_tensors(state: Mapping[str, Tensor], file: Path) -> None:
    """Write the state of a network; corrections of subnetworks in half precision.

    Raises:
        OSError: The disk refuses.
        SafetensorError: The same, as safetensors says it.
    """
    from safetensors.torch import save_file

    stored = {n: t.detach().to(STORED if n.startswith("adapters.") else t.dtype) for n, t in state.items()}
    with plain_name(file) as writable:
        save_file({n: t.contiguous() for n, t in stored.items()}, writable)


def _stored_as(name: str, tensor: Tensor) -> str | None:
    return _NAMES[STORED] if name.startswith("adapters.") and tensor.is_floating_point() else None
