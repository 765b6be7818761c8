"""Core ML: an ML Program with an image input, in fp32, fp16, or fp16 with compressed weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from exporters.targets.base import Exporter, Written
from exporters.targets.coreml.compression import compressed, has_zeros
from exporters.targets.mlprogram.coremltools_import import coremltools
from exporters.targets.mlprogram.package import make_reproducible
from exporters.targets.mlprogram.precision import runs_in_fp16
from exporters.targets.mlprogram.ranges import IMAGES, check_range
from exporters.targets.soundness import example_input
from exporters.targets.spec import ExportSpec
from runtime_py.bundle.manifest import Precision, Target
from runtime_py.bundle.tolerances import is_quantised

if TYPE_CHECKING:
    import torch

INPUT = "image"
OUTPUT = "embedding"
NEWER = "masked weights in a quantised precision need iOS 18 or macOS 15"


class CoreMLExporter(Exporter):
    """Writes an `.mlpackage` for iOS 17 and macOS 14 or later; iOS 18 and macOS 15 where masked weights are quantised.

    fp16 keeps the normalisation of the pixels and of the embedding in fp32. int8-weights, palette6 and palette4 are
    fp16 with the weights of every layer of more than 2048 in 8, 6 or 4 bits, unfolded when it loads.
    """

    target: ClassVar[Target] = "coreml"
    float_precision: ClassVar[Precision] = "fp16"
    suffix: ClassVar[str] = ".mlpackage"
    packages: ClassVar[tuple[str, ...]] = ("coremltools",)

    def _write(self, module: torch.nn.Module, spec: ExportSpec, path: Path) -> Written:
        ct, sparse = coremltools(), has_zeros(module, spec.precision)
        newer = sparse and is_quantised(spec.precision)
        with warnings.catch_warnings():
            # The toolchain's own deprecations are for its authors.
            warnings.simplefilter("ignore")
            model = compressed(
                _converted(ct, _captured(module, spec), spec, ct.target.iOS18 if newer else ct.target.iOS17),
                spec.precision,
                sparse,
            )
        model.short_description = f"Query encoder {spec.identity.name}: RGB image to unit-length embedding."
        model.author = "prunnet"
        model.version = spec.identity.version
        height, width = spec.size
        resized = "resized as the manifest states; its normalisation"
        if spec.frame is not None:
            resized = "as the camera gives it; the resize"
        model.input_description[INPUT] = (
            f"RGB picture of {width} x {height} pixels, {resized} is part of the model"
        )
        model.output_description[OUTPUT] = (
            f"Embedding of length 1, {spec.identity.dimension} values, for galleries of space {spec.identity.space_id}"
        )
        model.user_defined_metadata.update(spec.identity.entries())
        model.save(str(path))
        make_reproducible(path)
        notes = (
            ()
            if spec.precision == "fp32"
            else check_range(path, INPUT, spec.as_taken(spec.calibration_images[:IMAGES]), "coreml")
        )
        notes = (*notes, *((NEWER,) if newer else ()))
        return Written(spec.pixels("image", INPUT), spec.embedding(OUTPUT), notes)


def _captured(module: torch.nn.Module, spec: ExportSpec) -> torch.export.ExportedProgram:
    import torch

    program = torch.export.export(module, (example_input(spec),))
    # coremltools refuses the training dialect that export returns, and the node `alias`.
    without_alias: torch.export.ExportedProgram = program.run_decompositions(
        {torch.ops.aten.alias.default: lambda value: value}
    )
    return without_alias


def _converted(ct: Any, program: torch.export.ExportedProgram, spec: ExportSpec, system: Any) -> Any:
    import numpy as np

    shape = (1, 3, *spec.size)
    compute = ct.precision.FLOAT32
    if spec.precision != "fp32":
        compute = ct.transform.FP16ComputePrecision(op_selector=runs_in_fp16)
    return ct.convert(
        program,
        inputs=[ct.ImageType(name=INPUT, shape=shape, color_layout=ct.colorlayout.RGB)],
        outputs=[ct.TensorType(name=OUTPUT, dtype=np.float32)],
        convert_to="mlprogram",
        minimum_deployment_target=system,
        compute_precision=compute,
        skip_model_load=True,
    )
