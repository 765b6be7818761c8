"""ExecuTorch with the XNNPACK delegate: NCHW input; identity, space and sizes as constant methods."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.targets.adaptive_pool import with_fixed_windows
from exporters.targets.base import Exporter, ExportSpec, Written
from exporters.targets.calibration import calibration_images
from exporters.targets.executorch.delegate import lower
from exporters.targets.executorch.int8 import dynamic, quantised
from exporters.targets.soundness import example_input

if TYPE_CHECKING:
    import torch

IDENTITY_METHOD = "prunnet_identity"
"""Constant method that returns uint8 [n]: the UTF-8 JSON of the identity."""

BOOKKEEPING = ("getitem", "alloc")
"""Nodes of the lowered graph that compute nothing."""


class ExecuTorchExporter(Exporter):
    """Exports to a `.pte` whose ops run in XNNPACK; the ops that do not are told in the notes."""

    target = "executorch"
    precisions = ("fp32", "int8", "mixed", "int8-dynamic")
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
        notes = (*lowered.notes, *undelegated(lowered.program))
        return Written(spec.pixels("NCHW"), spec.embedding(), notes)


def constants(spec: ExportSpec) -> dict[str, Any]:
    """Return the constant methods: what an app can ask the program itself, named as ExecuTorch's own examples do.

    `runtime_py` reads the identity, whose bytes every binding of the runtime can hand out.
    """
    import torch

    text = json.dumps(spec.identity.entries()).encode()
    return {
        IDENTITY_METHOD: torch.tensor(list(text), dtype=torch.uint8),
        "get_space_id": spec.identity.space_id,
        "get_dimension": spec.identity.dimension,
        "get_input_height": spec.preprocessing.height,
        "get_input_width": spec.preprocessing.width,
    }


def undelegated(graph: torch.fx.GraphModule) -> tuple[str, ...]:
    """Return one note about the ops that run in the portable kernels instead of XNNPACK, or none.

    It is no error: the artifact is right, though these ops are slow.
    """
    from executorch.devtools.backend_debug import get_delegation_info

    rows = get_delegation_info(graph).delegation_by_operator.items()
    counts = {name: row.non_delegated for name, row in rows if not name.startswith(BOOKKEEPING)}
    outside = {name: count for name, count in counts.items() if count}
    if not outside:
        return ()
    listed = ", ".join(f"{name} x{count}" for name, count in sorted(outside.items()))
    return (f"works, but not delegated to XNNPACK: {listed}",)
