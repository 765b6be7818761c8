"""The space id: fingerprint of an embedding space.

Two versions are in use, told apart by their prefix:

* `v2-` and 32 hexadecimal digits covers weights, BatchNorm statistics, preprocessing, dimension, and what the network
  computes with them (`prunnet.encoder.computation`). New encoders have one.
* 32 hexadecimal digits alone covers the same without the computation. Encoders from before keep theirs, so that indexes
  and bundles stay valid.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from prunnet.encoder.computation import computation_of, operations
from prunnet.encoder.encoder import Encoder
from runtime_py.framing import Resize

SECOND = "v2-"


def space_id(encoder: Encoder, computation: tuple[str, ...] | None = None) -> str:
    """Fingerprint the space that a dense encoder embeds into.

    Two encoders share an id only if their weights, BatchNorm statistics, preprocessing and dimension are the same to
    the last bit, and the same operations run on them. The resize is part of the preprocessing; the default one adds
    nothing, so that ids from before it could be stated stay valid. Names of files and of classes, file formats and
    dates have no part in it.

    Args:
        encoder: The dense encoder.
        computation: What it computes, if that is known already.

    Returns:
        "v2-" and 32 hexadecimal digits.
    """
    lines = computation_of(encoder, *encoder.image_size) if computation is None else computation
    digest = hashlib.sha256(_weights(encoder))
    digest.update("\n".join(operations(lines)).encode())
    return SECOND + digest.hexdigest()[:32]


def weights_id(encoder: Encoder) -> str:
    """Return the first version of the id, which does not cover what the network computes: 32 hexadecimal digits."""
    return _weights(encoder).hex()[:32]


def id_like(known: str, encoder: Encoder, computation: tuple[str, ...]) -> str:
    """Return the id of an encoder in the version of an id that is known."""
    return space_id(encoder, computation) if known.startswith(SECOND) else weights_id(encoder)


def _weights(encoder: Encoder) -> bytes:
    digest = hashlib.sha256()
    facts: dict[str, Any] = {
        "dimension": encoder.dimension,
        "image_size": list(encoder.image_size),
        "normalisation": "l2",
    }
    if encoder.resize != Resize():  # ids from before there was another one stay
        facts["resize"] = encoder.resize.model_dump(mode="json")
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.digest()


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:  # NumPy has none
        plain = plain.view(torch.int16)
    return plain.numpy().astype(plain.numpy().dtype.newbyteorder("<")).tobytes()
