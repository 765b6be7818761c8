"""The template of every conversion: check the module, convert it, say with what tools.

A target subclasses `Exporter` and writes one method, `_write`.
"""

from __future__ import annotations

import errno
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from exporters.errors import ExportError
from exporters.targets.explained import explained
from exporters.targets.soundness import check_module, example_input
from exporters.targets.spec import Artifact, ExportSpec, Twin
from prunnet.profile import OFFERED
from runtime_py.bundle.manifest import Precision, Target, TensorInfo
from runtime_py.bundle.tolerances import is_quantised
from runtime_py.errors import BundleError, PrunnetError

if TYPE_CHECKING:
    import torch

_PAINT = re.compile(r"\x1b\[[0-9;]*m")
"""Colours of a terminal, which torch's ONNX exporter puts into its messages."""

__all__ = ["Artifact", "ExportSpec", "Exporter", "Written", "stage"]


@dataclass(frozen=True)
class Written:
    """What a target reports about the artifact that it wrote: its tensors and its notes."""

    input: TensorInfo
    output: TensorInfo
    notes: tuple[str, ...] = ()


class Exporter(ABC):
    """Converts a plain module (float32 [1, 3, H, W] in 0..255 -> unit-length float32 [1, D]) to one target.

    Attributes:
        target: Name of the target.
        float_precision: Precision of the twin of a quantised artifact.
        suffix: Suffix of the artifact, with its dot.
        packages: Distributions whose versions are stored with the artifact.
    """

    target: ClassVar[Target]
    float_precision: ClassVar[Precision] = "fp32"
    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    def convert(
        self, module: torch.nn.Module, spec: ExportSpec, scratch: Path | None = None, twin: Twin | None = None
    ) -> Artifact:
        """Convert `module` and return the artifact, written in a scratch folder; a quantised one with its float twin.

        Args:
            module: float32 [1, 3, H, W] RGB in 0..255 -> unit-length float32 [1, D]; in eval mode.
            spec: Identity, input size, precision and calibration images.
            scratch: Folder to write in; a new temporary one, which the caller removes, if None.
            twin: The float twin, if the caller has it.

        Returns:
            The artifact with its tensors, tool versions and notes.

        Raises:
            ExportError: The precision is not offered, the module is unsound (weights that are not finite,
                training mode, output not unit length), or the conversion failed.
        """
        self.check_precision(spec.precision)
        check_module(module, spec, self.target)
        folder = Path(tempfile.mkdtemp(prefix="prunnet-")) if scratch is None else scratch
        path = folder / f"encoder{self.suffix}"
        try:
            with stage(self.target, "convert"):
                written = self._write(module, spec, path)
        except ExportError as error:
            if error.stage != "convert" or _is_full(error.__cause__):
                raise
            cause = explained(error.cause, error.__cause__, module, example_input(spec))
            raise ExportError(self.target, "convert", cause) from error
        if not path.exists():
            raise ExportError(self.target, "convert", f"the converter returned without writing {path.name}")
        twin = (twin or self._twin(module, spec, folder)) if is_quantised(spec.precision) else None
        return Artifact(
            path, written.input, written.output, self._tools(), written.notes, twin, spec.float_layers
        )

    def check_precision(self, precision: Precision) -> None:
        """Raise ExportError of stage "plan", naming what is offered, unless `precision` is."""
        offered = OFFERED[self.target]
        if precision not in offered:
            raise ExportError(
                self.target,
                "plan",
                f"precision {precision!r} is not offered; offered: {', '.join(offered)}. "
                f"Set precision.{self.target} in the profile",
            )

    def _twin(self, module: torch.nn.Module, spec: ExportSpec, folder: Path) -> Twin:
        within = folder / "twin"
        within.mkdir(exist_ok=True)
        artifact = self.convert(
            module, replace(spec, precision=self.float_precision, float_layers=()), within
        )
        return Twin(artifact, self.float_precision)

    @abstractmethod
    def _write(self, module: torch.nn.Module, spec: ExportSpec, path: Path) -> Written:
        """Write the artifact to `path`, `spec.identity` inside it; any exception becomes an ExportError."""

    def _tools(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in ("torch", *self.packages)}


@contextmanager
def stage(target: str, name: str) -> Iterator[None]:
    """Turn any exception of a toolchain into ExportError(target, name, cause); ours pass unchanged."""
    try:
        yield
    except BundleError as error:  # nobody gave us a bundle: the artifact that we just wrote is no good
        raise ExportError(target, name, str(error)) from error
    except PrunnetError:
        raise
    except Exception as error:
        if _is_full(error):
            place = f"make room in {tempfile.gettempdir()}, or set TMPDIR to another folder"
            raise ExportError(target, name, f"the disk is full; {place}") from error
        first_line = next(iter(_PAINT.sub("", str(error)).strip().splitlines()), "no message")
        raise ExportError(target, name, f"{type(error).__name__}: {first_line}") from error


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
