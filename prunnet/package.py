"""Encoder packages: what training writes and what export reads.

A folder with `encoder.json` (metadata), `model.safetensors` (weights and scores), `probes.npz` (images) and `README.md`
(model card). Nothing in it is pickled.
"""

from __future__ import annotations

import json
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from prunnet.adapters import STORED, AdapterKind
from prunnet.batchnorm import reestimate
from prunnet.capacity import KeepFactor
from prunnet.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.images import Probes
from prunnet.prunable import PrunableEncoder
from prunnet.space import space_id
from runtime_py.folders import is_replaceable, replaced_folder
from runtime_py.manifest import Granularity, Preprocessing

BUILT_IN = "glyphs"


class BackboneSpec(BaseModel):
    """How the backbone is built again: a timm name with its options, or the user's own module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timm: str | None
    """timm model name; None for a module that the user brings along when loading."""
    options: dict[str, Any] = Field(default_factory=dict)
    features: int = Field(gt=0)
    """Channels that the backbone returns."""


class EncoderMetadata(BaseModel):
    """What `encoder.json` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: int = Field(default=1, ge=1, le=1)
    name: str = Field(min_length=1)
    backbone: BackboneSpec
    granularity: Granularity
    channel_multiple: int = Field(ge=1)
    spare_narrow: float = Field(default=0.0, ge=0, le=1)
    """How much later narrow channel groups, or small layers, are cut (`prunnet.capacity`, `prunnet.weight`)."""
    keep_factors: dict[str, KeepFactor] = Field(default_factory=dict)
    """Factors on what single groups or layers keep, by patterns of their names (`prunnet.capacity.stretches`)."""
    adapters: AdapterKind = "none"
    """What subnetworks have of their own (`prunnet.adapters`)."""
    dimension: int = Field(gt=0)
    preprocessing: Preprocessing
    training_capacities: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1)
    """Capacities that were trained, ascending; the first is the least that can be trusted."""
    space_id: str = Field(min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    """The recipe it was trained by, whole."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """Measured figures, as `prunnet-eval` prints them."""
    tools: dict[str, str] = Field(default_factory=dict)


class EncoderPackage:
    """A loaded encoder package. Use `load_encoder` to get one."""

    def __init__(self, path: Path, metadata: EncoderMetadata, prunable: PrunableEncoder) -> None:
        self.path, self.metadata, self.prunable = path, metadata, prunable

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self.metadata.name

    @property
    def space_id(self) -> str:
        """Fingerprint of the embedding space."""
        return self.metadata.space_id

    @property
    def preprocessing(self) -> Preprocessing:
        """How a photo becomes the input."""
        return self.metadata.preprocessing

    @property
    def min_capacity(self) -> float:
        """The least capacity that was trained."""
        return min(self.metadata.training_capacities)

    @cached_property
    def probes(self) -> Probes:
        """Held-out images with labels, and the calibration images.

        Raises:
            EncoderError: `probes.npz` is missing or not what it must be.
        """
        return Probes.load(self.path / "probes.npz", self.preprocessing)

    def subnetwork(self, capacity: float, multiple: int | None = None) -> Encoder:
        """Extract one subnetwork, ready for use: BatchNorm statistics re-estimated on the calibration images.

        The dense encoder (capacity 1.0) is returned as it is: its statistics are part of the space id.

        Returns:
            Encoder in eval mode, float32 [N, 3, H, W] raw RGB -> float32 [N, D] unit length.
        """
        module = self.prunable.extract(capacity, multiple)
        if self.prunable.achieved(capacity, multiple) < 1:
            reestimate(module, torch.from_numpy(self.probes.calibration))
        return module


def load_encoder(path: str | Path = BUILT_IN, *, backbone: nn.Module | None = None) -> EncoderPackage:
    """Load an encoder package.

    Args:
        path: A folder, or "glyphs" for the built-in encoder.
        backbone: The user's own module, for a package that was made from one.

    Raises:
        EncoderError: Something is missing, damaged, or not what the package says; names the file and the remedy.
    """
    folder = Path(path)
    if str(path) == BUILT_IN and not folder.is_dir():
        folder = Path(str(files("prunnet.encoders"))) / BUILT_IN
    metadata = _read_metadata(folder)
    tensors = _read_tensors(folder / "model.safetensors")
    encoder = _build(metadata, backbone, folder)
    try:
        prunable = PrunableEncoder(
            encoder,
            metadata.granularity,
            metadata.channel_multiple,
            metadata.adapters,
            [c for c in metadata.training_capacities if c < 1],
            metadata.spare_narrow,
            metadata.keep_factors,
        )
    except EncoderError as error:
        raise EncoderError(
            f"{folder / 'encoder.json'}: does not fit its backbone: {error}; "
            "take the package whole from where it was trained"
        ) from error
    try:
        prunable.load_state_dict(tensors)
    except RuntimeError as error:
        raise EncoderError(
            f"{folder / 'model.safetensors'}: does not fit {folder / 'encoder.json'}: {error}"
        ) from error
    found = space_id(prunable.encoder)
    if found != metadata.space_id:
        raise EncoderError(
            f"{folder}: the weights give the space id {found}, encoder.json says {metadata.space_id}: "
            "one of the two files belongs to another encoder; take the package whole from where it was trained"
        )
    return EncoderPackage(folder, metadata, prunable.eval())


def _read_metadata(folder: Path) -> EncoderMetadata:
    file = folder / "encoder.json"
    try:
        return EncoderMetadata.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise EncoderError(
            f"{folder} is no encoder package: {file.name} is missing; name a folder that prunnet-train wrote, "
            f"or {BUILT_IN!r} for the built-in encoder"
        ) from error
    except OSError as error:
        raise EncoderError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise EncoderError(
            f"{file}: {where}: {first['msg']}; write the package again with prunnet-train"
        ) from error


def _read_tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
    except FileNotFoundError as error:
        raise EncoderError(f"{file} is missing; the encoder package is not whole") from error
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{file}: not a readable safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise EncoderError(f"{file}: {name} holds NaN or infinity; take the last good checkpoint")
    return tensors


def _build(metadata: EncoderMetadata, backbone: nn.Module | None, folder: Path) -> Encoder:
    pre = metadata.preprocessing
    size = (pre.height, pre.width)
    if metadata.backbone.timm is not None:
        built = Encoder.from_timm(
            metadata.backbone.timm,
            dimension=metadata.dimension,
            image_size=size,
            options=metadata.backbone.options,
        ).backbone
    elif backbone is not None:
        built = backbone
    else:
        raise EncoderError(
            f"{folder} was made from a module of your own: load_encoder(path, backbone=module)"
        )
    return Encoder(built, metadata.backbone.features, metadata.dimension, size, pre.mean, pre.std)


def save_encoder(
    folder: Path, metadata: EncoderMetadata, prunable: PrunableEncoder, probes: Probes, card: str
) -> None:
    """Write an encoder package, whole or not at all; an older one at the same place is replaced.

    Args:
        folder: Where to.
        metadata: Must carry the space id of `prunable.encoder`.
        prunable: Weights and scores.
        probes: Held-out and calibration images.
        card: Text of README.md.

    Raises:
        EncoderError: Something else is at `folder`, or the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if not is_replaceable(folder, "encoder.json"):
        raise EncoderError(f"{folder} exists and is no encoder package; choose another folder, or empty it")
    text = json.dumps(metadata.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    try:
        with replaced_folder(folder.absolute()) as scratch:
            tensors = {n: _stored(n, t.detach()).contiguous() for n, t in prunable.state_dict().items()}
            save_file(tensors, scratch / "model.safetensors")
            probes.save(scratch / "probes.npz")
            (scratch / "README.md").write_text(card, encoding="utf-8")
            (scratch / "encoder.json").write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{folder} can not be written: {error}; free some space and try again") from error


def _stored(name: str, tensor: Tensor) -> Tensor:
    return tensor.to(STORED) if name.startswith("adapters.") else tensor


def preprocessing_of(encoder: Encoder) -> Preprocessing:
    """Return what a caller must know about an encoder's input."""
    mean = [float(v) for v in encoder.pixels.mean.flatten()]
    std = [float(1 / v) for v in encoder.pixels.inverse_std.double().flatten()]
    height, width = encoder.image_size
    return Preprocessing(
        height=height, width=width, mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2])
    )


def as_batch(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Turn uint8 [N, H, W, 3] into float32 [N, 3, H, W], still 0..255."""
    return torch.tensor(images).permute(0, 3, 1, 2).float()
