"""Encoder packages: what training writes and what export reads.

A folder with `encoder.json` (metadata), `model.safetensors` (weights and scores), `probes.npz` (images) and `README.md`
(model card). Nothing in it is pickled.
"""

from __future__ import annotations

import json
import warnings
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.computation import computation_of, differences, listed
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import id_like
from prunnet.errors import EncoderError, PrunnetError
from prunnet.package.images import Probes
from prunnet.package.metadata import BUILT_IN, SCHEMA_VERSION, BackboneSpec, EncoderMetadata, read_metadata
from prunnet.package.reference import TOLERANCE, distance, references_of
from prunnet.package.tensors import Header, read_header, read_tensors, write_tensors
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.bundle.manifest import Preprocessing
from runtime_py.disk.folders import is_replaceable, replaced_folder

__all__ = [
    "BUILT_IN",
    "BackboneSpec",
    "EncoderMetadata",
    "EncoderPackage",
    "as_batch",
    "load_encoder",
    "preprocessing_of",
    "save_encoder",
]


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

    The dense encoder that is built embeds some of the package's pictures again and must reach the stored embeddings. Of
    an own module every operation must also be the stored one. Packages of schema version 1 have neither; for an own
    module that is said in a warning.

    Args:
        path: A folder, or "glyphs" for the built-in encoder.
        backbone: The user's own module, for a package that was made from one. It takes on the package's weights.

    Raises:
        EncoderError: Something is missing, damaged, or not what the package says; names the file and the remedy.
    """
    folder = Path(path)
    if str(path) == BUILT_IN and not folder.is_dir():
        folder = Path(str(files("prunnet.shipped.encoders"))) / BUILT_IN
    metadata = read_metadata(folder)
    header = read_header(folder / "model.safetensors")
    probes = (
        Probes.load(folder / "probes.npz", metadata.preprocessing) if metadata.schema_version > 1 else None
    )
    encoder = _build(metadata, backbone, folder, header)
    scored = {name for name in header.tensors if name.startswith("scores.")}
    frozen = [tensor for tensor in encoder.parameters() if not tensor.requires_grad]
    try:
        prunable = _prunable(metadata, encoder, folder)
        fits = scored <= set(prunable.state_dict())
    except EncoderError:
        if not frozen:
            raise
        fits = False
    if not fits and frozen:
        # What is frozen now need not have been when the package was trained; what is trained anew is the caller's.
        for tensor in frozen:
            tensor.requires_grad_(True)
        prunable = _prunable(metadata, encoder, folder)
    if backbone is not None or metadata.schema_version == 1:
        # What was frozen in training, or could not be cut by an earlier release, has no scores.
        prunable.restrict(header.tensors)
    header.check_against(prunable.state_dict(), folder / "encoder.json")
    prunable.load_state_dict(read_tensors(header.file))
    found = id_like(metadata.space_id, prunable.encoder, metadata.computation)
    if found != metadata.space_id:
        raise EncoderError(
            f"{folder}: the weights give the space id {found}, encoder.json says {metadata.space_id}: "
            "one of the two files belongs to another encoder; take the package whole from where it was trained"
        )
    package = EncoderPackage(folder, metadata, prunable.eval())
    if probes is not None:
        package.probes = probes
    _check_function(package, own=backbone is not None)
    return package


def _prunable(metadata: EncoderMetadata, encoder: Encoder, folder: Path) -> PrunableEncoder:
    try:
        return PrunableEncoder(
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


def _build(metadata: EncoderMetadata, backbone: nn.Module | None, folder: Path, header: Header) -> Encoder:
    pre, spec, says = metadata.preprocessing, metadata.backbone, folder / "encoder.json"
    size = (pre.height, pre.width)
    if spec.timm is None and backbone is None:
        raise EncoderError(
            f"{folder} was made from a module of your own: load_encoder(path, backbone=module)"
        )
    if spec.timm is not None and backbone is not None:
        raise EncoderError(
            f"{folder} was made from timm's {spec.timm!r} and builds it itself; leave backbone= out"
        )
    try:
        if backbone is None:
            # What the file holds bounds what may be allocated; statistics and initialisation need some more.
            most = 4 * header.values + 2**24
            built = Encoder.from_timm(
                str(spec.timm), dimension=metadata.dimension, image_size=size, options=spec.options, most=most
            )
        else:
            built = Encoder.from_module(backbone, dimension=metadata.dimension, image_size=size)
    except PrunnetError as error:
        raise EncoderError(f"{says}: backbone: {error}") from error
    except ModuleNotFoundError:  # a package that is not installed; the commands name its extra
        raise
    except Exception as error:  # a package comes from others, and a network of odd options fails as it likes
        raise EncoderError(
            f"{says}: backbone: does not run on float32 [1, 3, {size[0]}, {size[1]}]: {type(error).__name__}: {error}"
        ) from error
    returned = built.head.project.in_features
    if returned != spec.features:
        raise EncoderError(
            f"{says}: backbone.features: given {spec.features}; the backbone returns {returned}; "
            "take the package whole from where it was trained"
        )
    encoder = Encoder(built.backbone, spec.features, metadata.dimension, size, pre.mean, pre.std)
    encoder.channels_last = built.channels_last
    return encoder


def _check_function(package: EncoderPackage, own: bool) -> None:
    """Refuse a network that has the package's tensors and computes something else with them."""
    metadata, encoder = package.metadata, package.prunable.encoder
    if metadata.schema_version == 1:
        if own:
            warnings.warn(
                f"{package.path} is from before packages kept embeddings: that this module computes what the package "
                "was trained with could not be checked; save it again with save_encoder once you are sure",
                stacklevel=3,
            )
        return
    references = package.probes.references
    if references is None or references.shape[1] != metadata.dimension:
        raise EncoderError(
            f"{package.path / 'probes.npz'}: references of dimension {metadata.dimension} are missing; take the "
            "package whole from where it was trained"
        )
    apart = distance(references_of(encoder, package.probes.calibration[: len(references)]), references)
    if apart <= TOLERANCE and not own:
        return
    said = differences(computation_of(encoder, *encoder.image_size), metadata.computation)
    if apart <= TOLERANCE and not said:
        return
    what = "the given module" if own else f"timm's {metadata.backbone.timm!r} as it is installed here"
    far = (
        f"embeds a picture at a distance of {apart:.2g} from the package's own embedding (at most {TOLERANCE:g})"
        if apart > TOLERANCE
        else "embeds the package's pictures as it must, but not by the same operations"
    )
    raise EncoderError(
        f"{package.path}: {what} has the package's tensors and computes something else: it {far}. "
        + (listed(said) or "The operations are the same, so what differs is their order or a constant")
        + "; "
        + (
            "build the module as it was trained"
            if own
            else f"install the timm of the package ({metadata.tools.get('timm', 'unknown')})"
        )
    )


def save_encoder(
    folder: Path, metadata: EncoderMetadata, prunable: PrunableEncoder, probes: Probes, card: str
) -> None:
    """Write an encoder package, whole or not at all; an older one at the same place is replaced.

    What the dense encoder computes, and its embeddings of the first calibration images, are added here.

    Args:
        folder: Where to.
        metadata: Must carry the space id of `prunable.encoder`.
        prunable: Weights and scores.
        probes: Held-out and calibration images.
        card: Text of README.md.

    Raises:
        EncoderError: Something else is at `folder`, the space id is another encoder's, or the disk refuses.
    """
    from safetensors import SafetensorError

    if not is_replaceable(folder, "encoder.json"):
        raise EncoderError(
            f"{folder} exists and is not an encoder package; choose another folder, or empty it"
        )
    encoder = prunable.encoder
    lines = computation_of(encoder, *encoder.image_size)
    if id_like(metadata.space_id, encoder, lines) != metadata.space_id:
        raise EncoderError(
            f"{folder}: the metadata's space id {metadata.space_id} is not that of the encoder; "
            "use space_id(prunable.encoder)"
        )
    whole = metadata.model_copy(update={"schema_version": SCHEMA_VERSION, "computation": lines})
    pictures = Probes(
        probes.images, probes.labels, probes.calibration, references_of(encoder, probes.calibration)
    )
    text = json.dumps(whole.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    try:
        with replaced_folder(folder.absolute()) as scratch:
            write_tensors(prunable.state_dict(), scratch / "model.safetensors")
            pictures.save(scratch / "probes.npz")
            (scratch / "README.md").write_text(card, encoding="utf-8")
            (scratch / "encoder.json").write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{folder} cannot be written: {error}; free some space and try again") from error


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
