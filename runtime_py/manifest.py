"""The manifest of a bundle: what a device must know before it trusts an artifact.

`manifest.json` lies beside the artifact. Every other file of the bundle is listed in it with its sha256, and
the manifest seals itself: `seal` is the sha256 of its canonical JSON without that field.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from runtime_py.tolerances import Precision as Precision
from runtime_py.tolerances import Tolerances as Tolerances

SCHEMA_VERSION: Literal[2] = 2
"""What is written. Version 2 adds to version 1, which is still read: parity pictures among the probes, and the
figures and tolerances of `_SINCE_2`."""

Target = Literal["executorch", "coreml", "tflite", "onnx"]
Granularity = Literal["weight", "channel"]
Verdict = Literal["compatible", "incompatible", "not verified"]


def _divides(value: float) -> float:
    if value < LEAST_SPREAD:
        raise ValueError(f"divides by zero; allowed: numbers of at least {LEAST_SPREAD:g}")
    return value


LEAST_SPREAD = 1e-6
"""Of a standard deviation of pixels 0..255; what is far below has no inverse in float32."""
Spread = Annotated[float, AfterValidator(_divides)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorInfo(_Record):
    """One input or output of the artifact, as the device sees it."""

    name: str
    shape: tuple[int, ...]
    """Static shape with the batch dimension 1 first."""
    layout: Literal["NCHW", "NHWC", "image", "NC"]
    """`image` is a Core ML image input; `NC` is an embedding [N, D]."""
    dtype: Literal["float32", "float16", "uint8", "int8"]
    value_range: tuple[float, float]
    """Smallest and largest meaningful value: (0, 255) for pixels, (-1, 1) for embeddings."""


class Preprocessing(_Record):
    """How a photo becomes the input. Resizing is the caller's; normalisation is inside the artifact."""

    height: int = Field(strict=True, gt=0)
    width: int = Field(strict=True, gt=0)
    color: Literal["RGB"] = "RGB"
    resize: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    """Per-channel mean on the 0..255 scale; applied inside the artifact."""
    std: tuple[Spread, Spread, Spread]
    """Per-channel standard deviation on the 0..255 scale; applied inside the artifact."""


class Cost(_Record):
    """Cost of one query (batch 1). None means: not measured or not predictable, never zero."""

    parameters: int | None = None
    mflops: float | None = None
    """Millions of floating point operations, 2 x MACs."""
    artifact_bytes: int | None = None
    peak_memory_bytes: int | None = None
    latency_ms: float | None = None
    latency_calibrated: bool = False


class BudgetCheck(_Record):
    """One budget of the profile against the predicted and the measured cost, all in `unit`."""

    budget: Literal["max_artifact", "max_peak_memory", "max_mflops", "max_latency_ms"]
    unit: Literal["bytes", "MFLOPs", "ms"]
    limit: float
    predicted: float
    measured: float | None = None
    """None where a host cannot measure it (a device's latency)."""

    @property
    def fits(self) -> bool:
        """Whether the best known figure is within the limit."""
        return (self.predicted if self.measured is None else self.measured) <= self.limit


class Figures(_Record):
    """Drift of one bundle on one runtime, measured on the probes."""

    probes: int
    finite: bool
    unit_length: bool
    min_cosine: float
    mean_cosine: float
    top1_agreement: float
    topk_overlap: float
    worst_probe: int
    """Index of the probe with the smallest cosine."""
    recall_at_1: float
    """The artifact's queries against the dense gallery (cross-test)."""
    recall_at_1_dense: float
    """Dense queries against the dense gallery."""
    map: float
    map_dense: float
    mean_cosine_to_dense: float
    queries: int | None = None
    """Probes that have something to find. None, with all below, in a bundle of schema version 1."""
    queries_that_can_fail: float | None = None
    """Of these, how many random embeddings would be expected to lose (`runtime_py.chance`)."""
    recall_at_1_chance: float | None = None
    """What random embeddings would score."""
    map_chance: float | None = None
    closeness: float | None = None
    """How surely an embedding finds the dense one of the same picture (`runtime_py.closeness`)."""
    own_picture: float | None = None
    """How often it prefers its own picture's dense embedding to the nearest other one's."""
    synthetic_min_cosine: float | None = None
    """Smallest cosine of a parity picture's embedding with the subnetwork's."""
    worst_picture: str | None = None
    """What that parity picture shows."""


_SINCE_2 = {
    "figures": {
        "queries",
        "queries_that_can_fail",
        "recall_at_1_chance",
        "map_chance",
        "closeness",
        "own_picture",
        "synthetic_min_cosine",
        "worst_picture",
    },
    "tolerances": {
        "min_synthetic_cosine",
        "min_closeness",
        "min_own_picture",
        "max_recorded_drop",
        "max_recorded_change",
    },
}
"""Fields of `drift` that a manifest of schema version 1 has not."""


class DriftRecord(_Record):
    """The drift that the exporter measured, with the runtime that measured it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is not `compatible`; empty if it is."""
    figures: Figures | None
    tolerances: Tolerances
    runtime: str
    """For example "LiteRT 2.3.0 on x86_64 Linux" or "MIL executor (declared) on x86_64 Linux"."""

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if self.verdict == "compatible" and (self.reasons or self.figures is None):
            raise ValueError("compatible with a reason against it, or without figures")
        if self.verdict != "compatible" and not self.reasons:
            raise ValueError(f"{self.verdict} without a reason")
        return self


class Manifest(_Record):
    """Everything about one bundle. See the module for how it is sealed."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    prunnet_version: str
    encoder: str
    """Name of the encoder package that it was cut from."""
    space_id: str
    capacity: float = Field(gt=0, le=1)
    """Capacity reached: kept / dense prunable parameters."""
    capacity_asked: float = Field(gt=0, le=1)
    granularity: Granularity
    target: Target
    precision: Precision
    profile: str
    artifact: str
    """File or folder name of the artifact inside the bundle."""
    probes: str = "probes.npz"
    input: TensorInfo
    output: TensorInfo
    preprocessing: Preprocessing
    predicted: Cost
    measured: Cost
    budgets: tuple[BudgetCheck, ...]
    drift: DriftRecord
    tools: dict[str, str]
    """Versions of the packages that made the artifact."""
    created: str
    """UTC time, ISO 8601."""
    files: dict[str, str]
    """Relative POSIX path -> sha256, of every file of the bundle except manifest.json."""
    seal: str = ""

    @model_validator(mode="after")
    def _is_of_its_version(self) -> Self:
        """Version 2 states every tolerance; version 1 can state none of the new ones, its reader says so."""
        stated = self.drift.tolerances
        if self.schema_version > 1:
            for name in sorted(_SINCE_2["tolerances"]):
                if getattr(stated, name) is None:
                    raise ValueError(f"drift.tolerances.{name} is not stated; schema version 2 states it")
        return self

    def sealed(self) -> Manifest:
        """Return the same manifest with its seal computed."""
        return self.model_copy(update={"seal": self.expected_seal()})

    def expected_seal(self) -> str:
        """Return the sha256 (hex) of the canonical JSON without the field `seal`."""
        body = self.body()
        del body["seal"]
        return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def body(self) -> dict[str, Any]:
        """Return the manifest as plain JSON types, with the fields of its own schema version alone."""
        body = self.model_dump(mode="json")
        if self.schema_version == 1:
            for part, names in _SINCE_2.items():
                for name in names if body["drift"][part] else ():
                    del body["drift"][part][name]
        return body
