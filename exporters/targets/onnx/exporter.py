"""ONNX: NCHW input of any batch, one file, identity in `metadata_props`; fp32, fp16, int8 (QDQ) or mixed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporters.targets.adaptive_pool import with_fixed_windows
from exporters.targets.base import Exporter, ExportSpec, Written
from exporters.targets.calibration import calibration_images
from exporters.targets.onnx.batch import opened
from exporters.targets.onnx.fp16 import halved
from exporters.targets.onnx.int8 import quantised
from exporters.targets.placement import float_places
from exporters.targets.soundness import example_input

if TYPE_CHECKING:
    import onnx
    import torch


class OnnxExporter(Exporter):
    """Exports with `torch.onnx.export` on top of `torch.export`; the saved file passes the checker."""

    target = "onnx"
    suffix = ".onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")

    def _write(self, module: torch.nn.Module, spec: ExportSpec, path: Path) -> Written:
        import onnx
        import torch

        example = example_input(spec)
        program = torch.onnx.export(
            with_fixed_windows(module, example),
            (example,),
            input_names=["image"],
            output_names=["embedding"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        model = _without_traces(program.model_proto)
        if spec.precision in ("int8", "mixed"):
            in_float = float_places(self.target, module, example, spec.float_layers)
            model = quantised(model, calibration_images(spec, self.target), in_float)
        elif spec.precision == "fp16":
            model = halved(model)
        onnx.helper.set_model_props(model, spec.identity.entries())
        onnx.save(model, path)
        notes = opened(path, example)
        onnx.checker.check_model(path, full_check=True)
        return Written(spec.pixels("NCHW"), spec.embedding(), notes)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what torch notes at each node: lines and paths of the exporting machine's sources.

    They would go out to every device, and the same network would be another file on another machine.
    """
    for node in model.graph.node:
        del node.metadata_props[:]
    for values in (model.graph.input, model.graph.output, model.graph.value_info, model.graph.initializer):
        for value in values:
            del value.metadata_props[:]
    del model.graph.metadata_props[:]
    return model
