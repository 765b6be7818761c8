"""What a bundle's embeddings may differ by: one table, a row for each precision, with what set it.

`parity.*`, `compression.*` and `recorded.*` judge an artifact and depend on the precision; `compatibility.*` and
`closeness.*` judge what the user feels and do not.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast, get_args

from pydantic import Field

from runtime_py.errors import UnknownNameError
from runtime_py.record import Record

Precision = Literal["fp32", "fp16", "int8", "mixed", "int8-dynamic", "int8-weights", "palette6", "palette4"]
"""`int8`: weights and activations, at ranges found before. `mixed`: the same, but the most sensitive layers stay in
float. `int8-dynamic`: the ranges of activations are found anew for each picture. `int8-weights`: weights alone.
`palette6`, `palette4`: weights alone, each one of 64 or 16 values of its layer. (Core ML's bundles of schema version 2
call `int8-weights` `int8`.)"""


def as_precision(name: str) -> Precision:
    """Return the name as a Precision; UnknownNameError lists the known ones."""
    known = get_args(Precision)
    if name not in known:
        raise UnknownNameError("precision", name, known)
    return cast("Precision", name)


def is_quantised(precision: Precision) -> bool:
    """Tell whether numbers of an artifact were rounded to a few levels, so that it loses more than a conversion may."""
    return precision not in ("fp32", "fp16")


Cosine = Annotated[float, Field(ge=-1, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Tolerances(Record):
    """What the figures are held against (docs/reference/gates.md). Cosines lie in [-1, 1], the rest in [0, 1].

    None, in a bundle of schema version 1: nobody judged that figure yet. The defaults are those of that version, for
    callers that state a few values themselves; an export takes its precision's (`TABLE`).
    """

    min_cosine: Cosine = 0.999
    """Parity: smallest cosine of any probe's embedding with the torch subnetwork's."""
    min_mean_cosine: Cosine = 0.9999
    """Parity: mean of the same."""
    min_top1_agreement: Fraction = 0.99
    """Parity: probes whose nearest gallery item is as near as the torch subnetwork's."""
    max_recall_drop: Fraction = 0.05
    """Compatibility: Recall@1 of dense queries minus that of the artifact's, both on the dense gallery."""
    max_map_drop: Fraction = 0.05
    """Compatibility: the same for mean average precision."""
    min_synthetic_cosine: Cosine | None = None
    """Parity: smallest cosine of any parity picture's embedding with the torch subnetwork's."""
    min_closeness: Fraction | None = None
    """Closeness: how surely an embedding finds the dense embedding of the same picture."""
    min_own_picture: Fraction | None = None
    """Closeness: how often it prefers that one to the nearest other dense embedding."""
    max_recorded_drop: Fraction | None = None
    """Recorded: Recall@1 and mAP at the export minus the same now."""
    max_recorded_change: Fraction | None = None
    """Recorded: change, either way, of the mean cosine to the dense embeddings since the export."""
    max_compression_drop: Fraction | None = None
    """Compression: Recall@1 and mAP of the torch subnetwork's queries minus that of the artifact's. None: the artifact
    is not quantised, and closeness to the subnetwork is `parity`, not `compression`."""
    min_recorded_cosine: Cosine | None = None
    """Recorded: smallest cosine with what the same quantised artifact gave at the export."""
    min_recorded_mean_cosine: Cosine | None = None
    """Recorded: mean of the same."""
    max_same_runtime_share: Fraction | None = None
    """Recorded: where the runtime has the name and version of the one at the export, 1 - the mean cosine may be this
    share of what quantisation moved the embeddings by."""
    min_preprocess_cosine: Cosine | None = None
    """Preprocess: smallest cosine of an original's embedding, decoded and resized here, with the one it must have."""
    min_preprocess_mean_cosine: Cosine | None = None
    """Preprocess: mean of the same."""

    def between(self, exported: str, runtime: str, moved: float) -> Tolerances:
        """Return what a later check holds the figures against.

        Args:
            exported: Sentence that names the runtime at the export.
            runtime: The same of the runtime now.
            moved: 1 - the mean cosine of the artifact's embeddings at the export with the float subnetwork's.
        """
        share, known = self.max_same_runtime_share, self.min_recorded_mean_cosine
        if share is None or known is None or _build_of(exported) != _build_of(runtime):
            return self
        least = min(1 - share * moved, 1 - _FLOAT_ROUNDING)
        return self.model_copy(update={"min_recorded_mean_cosine": max(known, least)})


_FLOAT_ROUNDING = 1e-6
"""1 - cosine that floating point alone may move an embedding by, from one processor to another."""


def _build_of(runtime: str) -> str:
    """Return a runtime's name and version: the sentence without the machine, and without words in brackets."""
    return re.sub(r"\s*\([^)]*\)", "", runtime.split(" on ", 1)[0])


class StatedTolerances(Record):
    """Tolerances that a profile states. Those it leaves out are the precision's (docs/reference/gates.md)."""

    min_cosine: Cosine | None = None
    min_mean_cosine: Cosine | None = None
    min_top1_agreement: Fraction | None = None
    max_recall_drop: Fraction | None = None
    max_map_drop: Fraction | None = None
    min_synthetic_cosine: Cosine | None = None
    min_closeness: Fraction | None = None
    min_own_picture: Fraction | None = None
    max_recorded_drop: Fraction | None = None
    max_recorded_change: Fraction | None = None
    max_compression_drop: Fraction | None = None
    min_recorded_cosine: Cosine | None = None
    min_recorded_mean_cosine: Cosine | None = None
    max_same_runtime_share: Fraction | None = None
    min_preprocess_cosine: Cosine | None = None
    min_preprocess_mean_cosine: Cosine | None = None

    def of(self, precision: Precision) -> Tolerances:
        """Return the precision's tolerances with whatever is stated in their place."""
        return TABLE[precision].model_copy(update=self.model_dump(exclude_none=True))


_TASK = {"max_recall_drop": 0.05, "max_map_drop": 0.05, "min_closeness": 0.8, "min_own_picture": 0.45}


# The built-in encoder on pictures that are resized by 2.5 to 13: values off by one level, which is more than decoders
# and Pillow's versions differ by, give 0.9997 at worst and 0.99995 in the mean. Bilinear without antialias gives 0.98
# at worst and 0.996 in the mean on views of glyphs, 0.2 on drawn lines; bicubic for bilinear 0.992 and 0.9987.
_FRAMED = {"min_preprocess_cosine": 0.999, "min_preprocess_mean_cosine": 0.9995}


def _quantised(**closeness: float) -> Tolerances:
    return Tolerances(
        **closeness,
        max_compression_drop=0.015,
        min_recorded_cosine=0.98,
        min_recorded_mean_cosine=0.997,
        # Between x86-64 and an emulated Cortex-A53 (docs/guide/emulate.md; LiteRT and ONNX Runtime in the same release,
        # ExecuTorch 1.4.1 and 1.5.1): nothing for CNNs; for an untrained ViT, whose softmax and GELU in float tip the
        # roundings behind them, at most 0.12 of what int8 moves. Swapped channels in int8 of the built-in encoder, as
        # much as other kernels' rounding: 1.2 of it.
        max_same_runtime_share=0.25,
        max_recorded_drop=0.02,
        max_recorded_change=0.01,
        # As other kernels for the same file. int8 of the built-in encoder: one level 0.997 at worst, 0.9989 in the
        # mean; without antialias 0.22 and 0.89, swapped channels 0.972 and 0.996. Bicubic (0.998) is not seen.
        min_preprocess_cosine=0.98,
        min_preprocess_mean_cosine=0.997,
        **_TASK,
    )


TABLE: dict[Precision, Tolerances] = {
    # Honest exports differ by 1 - cosine of at most 2e-9 here (x86-64), on Arm kernels by 7.6e-6 in a component, which
    # is 7e-9 in a cosine. A BatchNorm eps of 1e-3 for 1e-5, the smallest fault tried, differs by 1.4e-7 at its worst
    # probe at capacity 0.2 (2e-8 in the mean, so that the worst probe catches it), by 2e-4 at capacity 1 (5e-5).
    # The mean allows 7 times what Arm kernels do.
    "fp32": Tolerances(
        min_cosine=0.9999999,
        min_mean_cosine=0.99999995,
        min_top1_agreement=0.99,
        min_synthetic_cosine=0.9999999,
        max_recorded_drop=0.01,
        max_recorded_change=0.001,
        **_TASK,
        **_FRAMED,
    ),
    # Core ML, each operation rounded to 11 bits: at most 4e-6 for the built-in encoder, 1.4e-4 (2.4e-5 in the mean) for
    # an untrained MobileNetV3. The tolerance is four times that; a Neural Engine's own rounding we have not measured.
    # TFLite, which rounds weights alone: at most 6e-7 for the built-in encoder at capacity 1 and 0.2.
    "fp16": Tolerances(
        min_cosine=0.9995,
        min_mean_cosine=0.9999,
        min_top1_agreement=0.98,
        min_synthetic_cosine=0.9995,
        max_recorded_drop=0.01,
        max_recorded_change=0.002,
        **_TASK,
        **_FRAMED,
    ),
    # Honest int8 of the built-in encoder: 1 - cosine of 1e-3 in the mean and 1.7e-2 at worst, on the parity pictures
    # 9e-2, and at most 0.001 of retrieval. Ranges found on one picture: 8e-3 in the mean, 0.14 at worst; on dark ones
    # 0.13 to 0.5 in the mean, and 0.07 to 0.41 of retrieval. The same file in other kernels (LiteRT's reference
    # kernels, ONNX Runtime's unoptimised graph, emulated Arm): 8e-4 in the mean, 4e-3 at worst over the probes and the
    # parity pictures, since each rounds in its own way.
    "int8": _quantised(
        min_cosine=0.9, min_mean_cosine=0.995, min_top1_agreement=0.8, min_synthetic_cosine=0.8
    ),
    # As far as int8 may go: layers stay in float until the artifact loses no more.
    "mixed": _quantised(
        min_cosine=0.9, min_mean_cosine=0.995, min_top1_agreement=0.8, min_synthetic_cosine=0.8
    ),
    # TFLite: 2.4e-4 in the mean, 1.2e-3 at worst, 9e-3 on the parity pictures. As far as int8 may go: what may be lost
    # does not depend on the way.
    "int8-dynamic": _quantised(
        min_cosine=0.9, min_mean_cosine=0.995, min_top1_agreement=0.8, min_synthetic_cosine=0.8
    ),
    # Core ML: 1.4e-4 in the mean, 3.3e-4 at worst; TFLite: 1.8e-4 and 1.1e-3 (built-in encoder, capacity 1 and 0.2).
    "int8-weights": _quantised(
        min_cosine=0.99, min_mean_cosine=0.999, min_top1_agreement=0.9, min_synthetic_cosine=0.95
    ),
    # Core ML, built-in encoder at capacity 1 and 0.2: at most 1.8e-3 in the mean, 3.6e-3 at worst, 3e-3 on the parity
    # pictures, nearest neighbours agree on 0.93. A table that lost its last entry: 9.7e-3 in the mean, 2.6e-2 at worst;
    # evenly spaced entries: 5e-3 to 1e-2 in the mean; a palette of 5 bits at capacity 0.2: 8e-3.
    "palette6": _quantised(
        min_cosine=0.98, min_mean_cosine=0.995, min_top1_agreement=0.85, min_synthetic_cosine=0.98
    ),
    # The same: at most 3.1e-2 in the mean, 6.6e-2 at worst, 4.6e-2 on the parity pictures, agreement on 0.69. Two
    # neighbouring entries exchanged: at least 4.8e-2 in the mean, 0.13 at worst; a palette of 3 bits: 0.1 in the mean.
    "palette4": _quantised(
        min_cosine=0.88, min_mean_cosine=0.955, min_top1_agreement=0.6, min_synthetic_cosine=0.9
    ),
}

SERVER_MIN_COSINE = 0.999
"""What a server's own embeddings of the probes may differ from the stored ones: it may run fp16 or TF32 on a GPU."""
SERVER_MIN_MEAN_COSINE = 0.9999
"""The same, as a mean."""
