"""Writing an encoder package: whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from prunnet.encoder.computation import computation_of
from prunnet.encoder.space import id_like
from prunnet.errors import EncoderError
from prunnet.package.images import PackageImages
from prunnet.package.metadata import SCHEMA_VERSION, EncoderMetadata
from prunnet.package.reference import references_of
from prunnet.package.tensors import write_tensors
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.disk.folders import is_replaceable, replaced_folder


def save_encoder(
    folder: Path, metadata: EncoderMetadata, prunable: PrunableEncoder, probes: PackageImages, card: str
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
        EncoderError: Something else is at `folder`, its id or resize is another encoder's, or the disk refuses.
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
    if metadata.preprocessing.resize != encoder.resize:
        raise EncoderError(
            f"{folder}: the metadata's resize ({metadata.preprocessing.resize}) is not that of the encoder "
            f"({encoder.resize}); use preprocessing_of(prunable.encoder)"
        )
    whole = metadata.model_copy(update={"schema_version": SCHEMA_VERSION, "computation": lines})
    pictures = PackageImages(
        probes.images,
        probes.labels,
        probes.calibration,
        references_of(encoder, probes.calibration),
        probes.originals,
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
