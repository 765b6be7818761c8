"""Find the channel groups of an encoder."""

from __future__ import annotations

import time

import torch

from prunnet.encoder import Encoder
from prunnet.groups import Grouping
from prunnet.pruning.check import tried
from prunnet.pruning.pictures import pictures
from prunnet.pruning.resolve import resolve
from prunnet.pruning.trace import trace

SECONDS = 25.0
"""How long finding and trying groups may take, seconds."""


def find_groups(encoder: Encoder) -> Grouping:
    """Find every channel group of an encoder.

    Returns:
        Groups in the order of the encoder's modules. `fixed` says of everything else why it keeps its full width.

    Raises:
        EncoderError: The encoder's own code fails or takes too long; names the module.
    """
    deadline = time.monotonic() + SECONDS
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    book = trace(encoder, pictures(encoder.image_size, 2).to(device), deadline)
    return tried(encoder, resolve(book, encoder), deadline)
