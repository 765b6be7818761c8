"""Opening an encoder package: what training writes (`prunnet.package.save`) and what export reads.

A folder with `encoder.json` (metadata), `model.safetensors` (weights and scores), `probes.npz` (images) and `README.md`
(model card). Nothing in it is pickled.
"""

from __future__ import annotations

import math
import warnings
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from prunnet.encoder.computation import computation_of, differences, listed
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import id_like
from prunnet.errors import EncoderError, PrunnetError
from prunnet.package.images import PackageImages
from prunnet.package.metadata import BUILT_IN, EncoderMetadata, preprocessing_of, read_metadata
from prunnet.package.package import EncoderPackage
from prunnet.package.reference import PICTURES, TOLERANCE, distance, references_of
from prunnet.package.tensors import Header, read_header, read_tensors
from prunnet.pruning.prunable import PrunableEncoder

ROUNDING = 1e-6
"""Largest relative difference of a mean or std from the network's, which is float32."""


@torch.inference_mode(False)  # tensors made in it could never be changed or ranked again
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
        PackageImages.load(folder / "probes.npz", metadata.preprocessing)
        if metadata.schema_version > 1
        else None
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
    if prunable.adapters is not None:
        # Earlier releases let trained subnetworks of nearly one size share a switch, and another never learned.
        prunable.adapters.round()
    _check_pixels(metadata, prunable.encoder, folder)
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
        return PrunableEncoder(encoder, metadata.cut_rule)
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
    encoder = Encoder(built.backbone, spec.features, metadata.dimension, size, pre.mean, pre.std, pre.resize)
    encoder.channels_last = built.channels_last
    return encoder


def _check_pixels(metadata: EncoderMetadata, encoder: Encoder, folder: Path) -> None:
    """Refuse a mean or std that is not the network's own, which is stored with its weights."""
    used = preprocessing_of(encoder)
    for name in ("mean", "std"):
        said, own = getattr(metadata.preprocessing, name), getattr(used, name)
        if not all(math.isclose(a, b, rel_tol=ROUNDING) for a, b in zip(said, own, strict=True)):
            raise EncoderError(
                f"{folder / 'encoder.json'}: preprocessing.{name}: given {list(said)}; the network uses {list(own)}; "
                "take the package whole from where it was trained"
            )


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
    if references is None or references.shape[1] != metadata.dimension or len(references) > PICTURES:
        raise EncoderError(
            f"{package.path / 'probes.npz'}: references of dimension {metadata.dimension} are missing, or more than "
            f"{PICTURES}; take the package whole from where it was trained"
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
        else "embeds the package's pictures as it must, but not by the same operations and constants"
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
