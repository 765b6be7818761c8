"""ExecuTorch with the XNNPACK delegate: NCHW input; identity, space and sizes as constant methods."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.targets.adaptive_pool import with_fixed_windows
from exporters.targets.base import Exporter, ExportSpec, Written
from exporters.targets.calibration import calibration_images
from exporters.targets.executorch.delegate import lower
from exporters.targets.executorch.int8 import dynamic, quantised
from exporters.targets.pte import constants, undelegated
from exporters.targets.soundness import example_input

if TYPE_CHECKING:
    import torch


class ExecuTorchExporter(Exporter):
    """Exports to a `.pte` whose ops run in XNNPACK; the ops that do not are told in the notes."""

    target = "executorch"
    suffix = ".pte"
    packages = ("executorch", "torchao")

    def _write(self, module: torch.nn.Module, spec: ExportSpec, path: Path) -> Written:
        import torch

        example = example_input(spec)
        with torch.inference_mode():
            expected = module(example)
        module = with_fixed_windows(module, example)
        if spec.precision in ("int8", "mixed"):
            module = quantised(module, calibration_images(spec, self.target), spec.float_layers)
        elif spec.precision == "int8-dynamic":
            module = dynamic(module, example)
        lowered = lower(
            partial(torch.export.export, module, (example,)),
            constants(spec),
            example,
            expected.clone() if spec.precision == "fp32" else None,
        )
        path.write_bytes(lowered.buffer)
        # What XNNPACK does not take is no error: the artifact is right, though these operations are slow.
        outside = undelegated(lowered.program)
        notes = (*lowered.notes, *((f"works, but not delegated to XNNPACK: {outside}",) if outside else ()))
        return Written(spec.pixels("NCHW"), spec.embedding(), notes)
