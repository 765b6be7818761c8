"""TFLite: NHWC input, one name for each end, the identity and a card for Google's tools as metadata entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.targets.adaptive_pool import with_fixed_windows
from exporters.targets.base import Exporter, ExportSpec, Written
from exporters.targets.calibration import calibration_images
from exporters.targets.placement import float_places
from exporters.targets.soundness import example_input
from exporters.targets.tflite.broadcast import without_expansions
from exporters.targets.tflite.card import CARD_NAME, model_card
from exporters.targets.tflite.metadata import IDENTITY_NAME, with_metadata
from exporters.targets.tflite.precision import halved, quantised, stored_as_int8

if TYPE_CHECKING:
    import torch


class TfliteExporter(Exporter):
    """Exports with litert_torch; the input is channel last, as every camera of a phone delivers it."""

    target = "tflite"
    suffix = ".tflite"
    packages = ("litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer")

    def _write(self, module: torch.nn.Module, spec: ExportSpec, path: Path) -> Written:
        import litert_torch

        example = example_input(spec)
        plain = without_expansions(with_fixed_windows(module, example), example)
        channel_last = litert_torch.to_channel_last_io(plain, args=[0]).eval()
        pixels = example.permute(0, 2, 3, 1).contiguous()
        converted = path.with_name("converted.tflite")
        litert_torch.convert(channel_last, (pixels,)).export(str(converted))
        in_float = float_places(self.target, module, example, spec.float_layers)
        if spec.precision in ("int8", "mixed"):
            model = quantised(converted, calibration_images(spec, self.target), in_float)
        elif spec.precision == "int8-dynamic":
            model = stored_as_int8(converted, in_float, dynamic=True)
        elif spec.precision == "int8-weights":
            model = stored_as_int8(converted, in_float, dynamic=False)
        elif spec.precision == "fp16":
            model = halved(converted)
        else:
            model = converted.read_bytes()
        converted.unlink()
        written = Written(spec.pixels("NHWC"), spec.embedding())
        entries = {
            CARD_NAME: model_card(spec.identity, written.input, written.output),
            IDENTITY_NAME: json.dumps(spec.identity.entries()).encode(),
        }
        path.write_bytes(with_metadata(model, entries, written.input.name, written.output.name))
        return written
