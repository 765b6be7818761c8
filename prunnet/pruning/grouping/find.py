"""Find the channel groups of an encoder."""

from __future__ import annotations

import copy

import torch

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping.check import tried
from prunnet.pruning.grouping.deadline import Deadline
from prunnet.pruning.grouping.pictures import pictures
from prunnet.pruning.grouping.resolve import resolve
from prunnet.pruning.grouping.shape import fresh, on_meta
from prunnet.pruning.grouping.steady import check_steady
from prunnet.pruning.grouping.trace import trace
from prunnet.pruning.groups import Grouping
from prunnet.torch_fixes.compiler import compiler_put_off

SECONDS = 25.0
"""How long finding and trying groups may take, seconds of work."""


@compiler_put_off()
def find_groups(encoder: Encoder) -> Grouping:
    """Find every channel group of an encoder.

    Returns:
        Groups in the order of the encoder's modules. `fixed` says of everything else why it keeps its full width.

    Raises:
        EncoderError: The encoder cannot be copied, or its own code fails or takes too long; names the module.
    """
    remedy = "use smaller images, or granularity 'weight'"
    deadline = Deadline(SECONDS, "finding channel groups", remedy)
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    try:
        with torch.inference_mode(False), torch.no_grad():
            dense, blueprint = fresh(copy.deepcopy(encoder)), on_meta(encoder)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"the backbone {type(encoder.backbone).__name__} cannot be copied (copy.deepcopy): {error}"
        ) from error
    book = trace(dense, pictures(encoder.image_size, 2).to(device), deadline)
    check_steady(fresh(dense), copy.deepcopy(blueprint), deadline)
    return tried(fresh(dense), blueprint, resolve(book, dense, deadline), deadline)
