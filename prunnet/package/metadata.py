"""`encoder.json`: what an encoder package says of itself.

Schema version 2 (November 2026) adds `computation`, and reference embeddings in `probes.npz`; version 3 states the
resize exactly. Versions 1 and 2 are read as before: their pictures were stretched with Pillow's bilinear filter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ValidationError, model_validator

from prunnet.encoder.options import Options
from prunnet.errors import DocumentError, EncoderError
from prunnet.pruning.capacity import KeepFactor
from prunnet.pruning.rule import AdapterKind, CutRule
from prunnet.yaml.document import Document, read_document
from prunnet.yaml.numbers import MOST_CAPACITIES, MOST_PIXELS, Capacity, Features, Share
from prunnet.yaml.validation import problems_of
from runtime_py.bundle.manifest import Granularity, Preprocessing
from runtime_py.record import Record

if TYPE_CHECKING:
    from prunnet.encoder.encoder import Encoder

BUILT_IN = "glyphs"
SCHEMA_VERSION = 3

MOST_BYTES = 2**24
"""Of `encoder.json`."""


class BackboneSpec(Record):
    """How the backbone is built again: a timm name with its options, or your own module."""

    timm: str | None
    """Name of the timm model. None for a module of your own, which you hand to `load_encoder`."""
    options: Options = Field(default_factory=dict)
    """Further arguments of the model's class."""
    features: Features
    """Channels that the backbone returns."""


class EncoderMetadata(Record):
    """What `encoder.json` says."""

    schema_version: int = Field(default=SCHEMA_VERSION, strict=True, ge=1, le=SCHEMA_VERSION)
    """Version of this layout."""
    name: str = Field(min_length=1)
    """Name of the encoder."""
    backbone: BackboneSpec
    """How the network is built again."""
    granularity: Granularity
    """What can be pruned: whole channels or single weights."""
    channel_multiple: Features
    """Channel counts are multiples of this, unless a device profile brings its own."""
    spare_narrow: Share = 0.0
    """As in the recipe (docs/reference/recipe.md)."""
    keep_factors: dict[str, KeepFactor] = Field(default_factory=dict)
    """Factors on what single groups or layers keep, by patterns of their names."""
    adapters: AdapterKind = "none"
    """Corrections that subnetworks have of their own."""
    dimension: Features
    """Length of the embedding."""
    preprocessing: Preprocessing
    """How a photo becomes the input."""
    training_capacities: tuple[Capacity, ...] = Field(min_length=1, max_length=MOST_CAPACITIES)
    """Capacities that were trained, ascending; the first is the least that can be trusted."""
    space_id: str = Field(min_length=1)
    """Fingerprint of the embedding space. Embeddings may only meet a gallery with the same one."""
    computation: tuple[str, ...] = Field(default=(), max_length=100_000)
    """The operations that the dense encoder computes, in order. Empty in schema version 1."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """The recipe it was trained by."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """Measured figures, as `prunnet-eval` prints them."""
    tools: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages that trained it."""

    @property
    def cut_rule(self) -> CutRule:
        """How its subnetworks are cut."""
        return CutRule.stated(self, self.training_capacities)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        wrong = [
            f"preprocessing.{side}: too large an input; allowed: at most {MOST_PIXELS} pixels"
            for side in ("height", "width")
            if getattr(self.preprocessing, side) > MOST_PIXELS
        ]
        trained = self.training_capacities
        if trained[-1] != 1 or list(trained) != sorted(set(trained)):
            wrong.append(
                "training_capacities: not ascending to 1.0; allowed: each capacity once, ascending, the last 1.0"
            )
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


def preprocessing_of(encoder: Encoder) -> Preprocessing:
    """Return what a caller must know about an encoder's input."""
    mean = [float(v) for v in encoder.pixels.mean.flatten()]
    std = [float(1 / v) for v in encoder.pixels.inverse_std.double().flatten()]
    height, width = encoder.image_size
    return Preprocessing(
        height=height,
        width=width,
        resize=encoder.resize,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
    )


def read_metadata(folder: Path) -> EncoderMetadata:
    """Read a package's `encoder.json`.

    Raises:
        EncoderError: It is missing, unreadable, too long, no JSON, or says what it must not; lists every problem with
            its line, field, what was given and what is allowed.
    """
    file = folder / "encoder.json"
    for each in ("encoder.json", "model.safetensors", "probes.npz"):
        part = folder / each
        if part.exists() and not part.is_file():
            raise EncoderError(
                f"{part}: is not a plain file; take the package whole from where it was trained"
            )
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        missing = f"{file.name} is missing" if folder.exists() else "it does not exist"
        inside = folder / "encoder"
        hint = f" did you mean {inside}?" if (inside / file.name).is_file() else ""
        raise EncoderError(
            f"{folder} is not an encoder package: {missing};{hint} name the folder OUT/encoder that prunnet-train "
            f"wrote, or {BUILT_IN!r} for the built-in encoder"
        ) from error
    except OSError as error:
        raise EncoderError(f"{file}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise EncoderError(
            f"{file} is too long to be an encoder's metadata; at most {MOST_BYTES // 2**20} MiB"
        )
    values = _values(file, content)
    try:
        metadata = EncoderMetadata.model_validate(values)
    except ValidationError as error:
        problems = problems_of(Document(file, values, _lines(file)), EncoderMetadata, error)
        listed = "\n".join(f"  {problem}" for problem in problems)
        said = f"{problems[0]}; " if len(problems) == 1 else f"{file}: {len(problems)} problems\n{listed}\n"
        raise EncoderError(f"{said}write the package again with prunnet-train") from error
    if metadata.schema_version > 1 and not metadata.computation:
        raise EncoderError(
            f"{file}: computation: the key is missing, which schema version {metadata.schema_version} has; write the "
            "package again with prunnet-train"
        )
    return metadata


def _values(file: Path, content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content.decode("utf-8"), object_pairs_hook=_each_once)
        json.dumps(values, ensure_ascii=False).encode()  # half of a pair of surrogates is JSON, and no text
    except (ValueError, RecursionError) as error:  # no UTF-8 and no JSON are ValueErrors
        raise EncoderError(
            f"{file}: is not JSON: {error}; take the package whole from where it was trained"
        ) from error
    if not isinstance(values, dict):
        raise EncoderError(
            f"{file}: holds a {type(values).__name__}, not an object; take the package whole from where it was trained"
        )
    return values


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return found


def _lines(file: Path) -> dict[tuple[str | int, ...], int]:
    """Return the line of each field; JSON is YAML. Files that are too long for that reader have none."""
    try:
        return read_document(file).lines
    except DocumentError:
        return {}
