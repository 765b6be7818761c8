"""Tensors in one safetensors file that is replaced atomically, with a few words about them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from prunnet.errors import TrainingError
from runtime_py.disk.files import plain_name
from runtime_py.disk.scratch import UNFINISHED, host, is_stale, remove_stale, scratch_path


def write_tensors(file: Path, tensors: Mapping[str, Tensor], about: dict[str, str]) -> None:
    """Write a file; a killed write leaves the one before it.

    Args:
        file: Where to.
        tensors: Any; they are copied where they are not contiguous.
        about: What the file says of itself.

    Raises:
        TrainingError: It cannot be written (a full disk, say).
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with scratch_path(file.parent, f".{file.name}") as scratch:
            with plain_name(scratch) as name:
                save_file({n: t.detach().contiguous() for n, t in tensors.items()}, name, about)
            with scratch.open("rb") as written:
                os.fsync(written.fileno())
            scratch.replace(file)
    except (OSError, SafetensorError) as error:
        again = "continue with --resume" if file.exists() else "start again: there is none yet to resume from"
        raise TrainingError(f"{file} cannot be written: {error}; free some space and {again}") from error


def read_tensors(file: Path, whole: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return what a file says of itself, and its tensors if it is wanted whole.

    Raises:
        TrainingError: It cannot be read, or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with plain_name(file) as name, safe_open(name, "pt") as stored:
            names = list(stored.keys()) if whole else []
            return stored.metadata() or {}, {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{file} is damaged: {error}; remove it to start over") from error


def remove_unfinished(file: Path) -> None:
    """Remove what dead processes of this host left beside a file, under today's names and those of older versions."""
    start = f".{file.name}"
    remove_stale(file.parent, start)
    for scratch in file.parent.glob(f"{start}.*"):
        pid = scratch.name.removeprefix(f"{start}.")
        if pid.isdigit() and is_stale(f"{UNFINISHED}{host()}-{pid}"):
            scratch.unlink(missing_ok=True)
