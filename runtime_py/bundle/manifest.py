"""The manifest of a bundle: what a device must know before it trusts an artifact.

`manifest.json` lies beside the artifact. Every other file of the bundle is listed in it with its sha256, and
the manifest seals itself: `seal` is the sha256 of its canonical JSON without that field.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from runtime_py.bundle.identity import Identity
from runtime_py.bundle.preprocessing import Preprocessing as Preprocessing
from runtime_py.bundle.tolerances import Precision as Precision
from runtime_py.bundle.tolerances import Tolerances as Tolerances
from runtime_py.bundle.tolerances import is_quantised
from runtime_py.framing import Framing
from runtime_py.record import Record

SCHEMA_VERSION: Literal[5] = 5
"""The newest; the older ones are still read. Version 2 added parity pictures to the probes; version 3 what a
quantised artifact gave at the export, and the figures of its float twin; version 4 states the resize, and the layers
that a mixed artifact keeps in float, and adds pictures of original size to the probes; version 5 adds artifacts that
resize by themselves. All other artifacts are still written in version 4. `_SINCE` lists the fields."""

Target = Literal["executorch", "executorch-coreml", "coreml", "tflite", "onnx"]
Granularity = Literal["weight", "channel"]
BudgetName = Literal["max_artifact", "max_peak_memory", "max_mflops", "max_latency_ms"]
Verdict = Literal["compatible", "incompatible", "not verified"]


class TensorInfo(Record):
    """One input or output of the artifact, as the device sees it."""

    name: str
    """Name of the tensor inside the artifact."""
    shape: tuple[int, ...]
    """Static shape with the batch dimension 1 first."""
    layout: Literal["NCHW", "NHWC", "image", "NC"]
    """`image` is a Core ML image input; `NC` is an embedding [N, D]."""
    dtype: Literal["float32", "float16", "uint8", "int8"]
    """Number format of its values."""
    value_range: tuple[float, float]
    """Smallest and largest meaningful value: (0, 255) for pixels, (-1, 1) for embeddings."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(Height, width) in pixels of an input with layout NCHW, NHWC or image.

        An `image` input states its shape as [1, H, W, 3] or [1, 3, H, W]; the axis of length 3 tells which.
        """
        if self.layout == "NCHW" or (self.layout == "image" and self.shape[1] == 3):
            return self.shape[2], self.shape[3]
        return self.shape[1], self.shape[2]


class Cost(Record):
    """Cost of one query. None means not measured or not predictable, never zero."""

    parameters: int | None = None
    """Numbers that the network holds."""
    mflops: float | None = None
    """Millions of floating point operations, 2 x MACs."""
    artifact_bytes: int | None = None
    """Bytes of the artifact, file or folder."""
    peak_memory_bytes: int | None = None
    """Bytes of weights, live activations and workspace at their peak."""
    latency_ms: float | None = None
    """Milliseconds."""
    latency_calibrated: bool = False
    """Whether the latency comes from measurements on this very device."""

    def of(self, budget: BudgetName) -> float | None:
        """Return the figure that a budget limits, in the budget's unit."""
        figures: dict[BudgetName, float | None] = {
            "max_artifact": self.artifact_bytes,
            "max_peak_memory": self.peak_memory_bytes,
            "max_mflops": self.mflops,
            "max_latency_ms": self.latency_ms,
        }
        return figures[budget]


class BudgetCheck(Record):
    """A budget of the profile beside the predicted and the measured cost."""

    budget: BudgetName
    """Which budget."""
    unit: Literal["bytes", "MFLOPs", "ms"]
    """Of the three figures."""
    limit: float
    """What the profile allows."""
    predicted: float
    """What the plan expected."""
    measured: float | None = None
    """What was measured after the export. None if this host cannot measure it, such as a device's latency."""

    @property
    def fits(self) -> bool:
        """Whether the best known figure is within the limit."""
        return (self.predicted if self.measured is None else self.measured) <= self.limit


class Figures(Record):
    """What was measured on the probes, on one runtime."""

    probes: int
    """How many probes were embedded."""
    finite: bool
    """Whether every value of every embedding is finite."""
    unit_length: bool
    """Whether every embedding has length 1."""
    min_cosine: float
    """Smallest cosine of a probe's embedding with the torch subnetwork's."""
    mean_cosine: float
    """Mean of the same."""
    top1_agreement: float
    """Share of the probes whose nearest gallery item is as near as the torch subnetwork's."""
    topk_overlap: float
    """Mean share of the nearest gallery items that both have."""
    worst_probe: int
    """Index of the probe with the smallest cosine."""
    recall_at_1: float
    """The artifact's queries against the dense gallery (cross-test)."""
    recall_at_1_dense: float
    """Dense queries against the dense gallery."""
    map: float
    """Mean average precision of the artifact's queries against the dense gallery."""
    map_dense: float
    """The same of dense queries."""
    mean_cosine_to_dense: float
    """Mean cosine of the artifact's embeddings with the dense ones."""
    queries: int | None = None
    """Probes that have something to find. None, like all below, in a bundle of schema version 1."""
    queries_that_can_fail: float | None = None
    """How many of these random embeddings would be expected to lose (docs/reference/gates.md)."""
    recall_at_1_chance: float | None = None
    """What random embeddings would score."""
    map_chance: float | None = None
    """What random embeddings would score."""
    closeness: float | None = None
    """How surely an embedding finds the dense embedding of the same picture (docs/reference/gates.md)."""
    own_picture: float | None = None
    """How often it prefers that one to the nearest other dense embedding."""
    synthetic_min_cosine: float | None = None
    """Smallest cosine of a parity picture's embedding with the torch subnetwork's."""
    worst_picture: str | None = None
    """What that parity picture shows."""
    recall_at_1_subnetwork: float | None = None
    """The torch subnetwork's queries against the dense gallery. None, like all below, before schema version 3."""
    map_subnetwork: float | None = None
    """The same for mean average precision."""
    recorded_min_cosine: float | None = None
    """Smallest cosine with what the artifact gave at the export; None if it is not quantised."""
    recorded_mean_cosine: float | None = None
    """Mean of the same."""


_SINCE: dict[int, dict[str, set[str]]] = {
    2: {
        "drift.figures": {
            "queries",
            "queries_that_can_fail",
            "recall_at_1_chance",
            "map_chance",
            "closeness",
            "own_picture",
            "synthetic_min_cosine",
            "worst_picture",
        },
        "drift.tolerances": {
            "min_synthetic_cosine",
            "min_closeness",
            "min_own_picture",
            "max_recorded_drop",
            "max_recorded_change",
        },
    },
    3: {
        "drift.figures": {
            "recall_at_1_subnetwork",
            "map_subnetwork",
            "recorded_min_cosine",
            "recorded_mean_cosine",
        },
        "drift": {"twin"},
        "drift.tolerances": {"max_compression_drop", "min_recorded_cosine", "min_recorded_mean_cosine"},
    },
    4: {
        "": {"float_layers"},
        "drift.tolerances": {
            "min_preprocess_cosine",
            "min_preprocess_mean_cosine",
            "max_same_runtime_share",
        },
        "preprocessing": {"orientation", "color_space", "transparent"},
    },
    5: {"": {"resize_inside"}},
}
"""Schema version -> part of the manifest -> its fields that a manifest of an older version has not."""

_OF_QUANTISED = {
    "max_compression_drop",
    "min_recorded_cosine",
    "min_recorded_mean_cosine",
    "max_same_runtime_share",
}
"""Tolerances that only a quantised artifact's manifest must state."""


class FloatTwin(Record):
    """The same module, converted in the same way but not quantised: what of a difference is the conversion's."""

    precision: Precision
    """Number format of the twin."""
    runtime: str
    """What ran it."""
    figures: Figures
    """What was measured of it; held against its own precision's parity tolerances at the export."""


class DriftRecord(Record):
    """The drift that the exporter measured, and the runtime it measured on."""

    verdict: Verdict
    """What the figures lead to."""
    reasons: tuple[str, ...]
    """Why the verdict is not `compatible`; empty if it is."""
    figures: Figures | None
    """What was measured; none if nothing could run the artifact."""
    tolerances: Tolerances
    """What the figures were held against."""
    runtime: str
    """For example "LiteRT 2.3.0 on x86_64 Linux" or "MIL executor (declared) on x86_64 Linux"."""
    twin: FloatTwin | None = None
    """Of a quantised artifact; none before schema version 3."""

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if self.verdict == "compatible" and (self.reasons or self.figures is None):
            raise ValueError("compatible with a reason against it, or without figures")
        if self.verdict != "compatible" and not self.reasons:
            raise ValueError(f"{self.verdict} without a reason")
        return self


class Manifest(Record):
    """Everything about one bundle. See the module for how it is sealed."""

    schema_version: Literal[1, 2, 3, 4, 5] = 4
    """Version of this layout."""
    prunnet_version: str
    """Version of prunnet that wrote the bundle."""
    encoder: str
    """Name of the encoder package that the artifact was cut from."""
    space_id: str
    """Fingerprint of the embedding space. Embeddings may only meet a gallery with the same one."""
    capacity: float = Field(gt=0, le=1)
    """Capacity reached: kept prunable parameters over those of the dense encoder."""
    capacity_asked: float = Field(gt=0, le=1)
    """Capacity that the plan asked for."""
    granularity: Granularity
    """What was pruned: channels or single weights."""
    target: Target
    """Format of the artifact."""
    precision: Precision
    """Number format of the artifact."""
    float_layers: tuple[str, ...] = ()
    """Layers of a `mixed` artifact that stay in float, the most sensitive first, by their names in torch. Empty for
    every other precision."""
    profile: str
    """Name of the device profile."""
    artifact: str
    """File or folder name of the artifact inside the bundle."""
    probes: str = "probes.npz"
    """File name of the probes."""
    input: TensorInfo
    """What the artifact takes."""
    output: TensorInfo
    """What the artifact returns."""
    preprocessing: Preprocessing
    """How a photo becomes the encoder's input."""
    resize_inside: bool = Field(default=False, strict=True)
    """Whether the artifact resizes. It then takes frames of the size of `input` and brings them to the encoder's as
    `preprocessing` states. From schema version 5 on, which is written where it is true."""
    predicted: Cost
    """Cost as the plan predicted it."""
    measured: Cost
    """Cost as it was measured after the export."""
    budgets: tuple[BudgetCheck, ...]
    """Every budget of the profile, with what was predicted and measured."""
    drift: DriftRecord
    """The verdict at export."""
    tools: dict[str, str]
    """Versions of the packages that made the artifact."""
    created: str
    """UTC time, ISO 8601."""
    files: dict[str, str]
    """Relative POSIX path -> sha256, of every file of the bundle except manifest.json."""
    seal: str = ""
    """sha256 of this manifest's canonical JSON without this field."""

    @model_validator(mode="after")
    def _is_of_its_version(self) -> Self:
        """From version 2 on every tolerance of that version is stated, of a quantised artifact also its own."""
        known = (parts for since, parts in _SINCE.items() if since <= self.schema_version)
        wanted = set[str]().union(*(parts.get("drift.tolerances", set()) for parts in known))
        if not is_quantised(self.precision):
            wanted -= _OF_QUANTISED
        missing = [
            f"drift.tolerances.{name}"
            for name in sorted(wanted)
            if getattr(self.drift.tolerances, name) is None
        ]
        if self.schema_version > 2 and (self.drift.twin is not None) != is_quantised(self.precision):
            missing.append("drift.twin, of a quantised artifact alone,")
        if missing:
            raise ValueError(
                f"{', '.join(missing)} not stated; schema version {self.schema_version} states them"
            )
        if self.float_layers and (self.precision != "mixed" or self.schema_version < 4):
            raise ValueError("float_layers are of the precision mixed alone, from schema version 4 on")
        if self.resize_inside and self.schema_version < 5:
            raise ValueError("resize_inside is from schema version 5 on")
        return self

    @property
    def identity(self) -> Identity:
        """What must be written inside the artifact."""
        return Identity(
            self.encoder, self.space_id, self.capacity, self.output.shape[-1], self.prunnet_version
        )

    @property
    def takes(self) -> Framing:
        """What a caller brings a picture to: `preprocessing`, or the size of `input` where the artifact resizes."""
        return Framing.of(self.input.image_size) if self.resize_inside else self.preprocessing

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
        for version, parts in _SINCE.items():
            for part, names in parts.items() if self.schema_version < version else ():
                owner = _part(body, part)
                for name in names if owner else ():
                    del owner[name]
        if self.schema_version < 4:
            body["preprocessing"]["resize"] = self.preprocessing.resize.filter
        return body


def _part(body: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a part of a manifest's body by its dotted path ("": all of it); empty if the manifest has none."""
    for key in path.split(".") if path else ():
        body = body.get(key) or {}
    return body
