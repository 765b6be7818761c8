"""The space id: fingerprint of an embedding space."""

from __future__ import annotations

import hashlib
import json

from torch import Tensor

from prunnet.encoder import Encoder


def space_id(encoder: Encoder) -> str:
    """Fingerprint the space that a dense encoder embeds into.

    Two encoders share an id only if their weights, BatchNorm statistics, preprocessing and dimension are the same to
    the last bit. File names, file formats and dates have no part in it.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    facts = {"dimension": encoder.dimension, "image_size": list(encoder.image_size), "normalisation": "l2"}
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()[:32]


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    return plain.numpy().astype(plain.numpy().dtype.newbyteorder("<")).tobytes()
