"""What stands in front of an encoder whose artifact takes a camera's frames as they are: a resize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime_py.framing import Framing

if TYPE_CHECKING:
    from torch import nn

INNER = "encoder"
"""Name of the encoder in the module that resizes."""
FILTER = "resize_filter"
"""Name of a filter's weights. A quantised artifact keeps them in float: a resize is no layer of the network."""


@dataclass(frozen=True)
class RawInput:
    """A resize in front of an encoder.

    Args:
        size: (height, width) of an upright frame, pixels.
        framing: The encoder's input, and how a frame is brought to it.
    """

    size: tuple[int, int]
    framing: Framing

    def before(self, encoder: nn.Module) -> nn.Module:
        """Return the encoder behind the resize: float32 [N, 3, *size], RGB 0..255 -> float32 [N, D]."""
        from prunnet.encoder.resizing import ResizingEncoder

        return ResizingEncoder(encoder, self)
