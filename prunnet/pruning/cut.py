"""One subnetwork of a prunable encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.adapters import Adapters
from prunnet.pruning.capacity import Widths
from prunnet.pruning.channel import ChannelCut
from prunnet.pruning.weight import WeightCut


@dataclass(frozen=True, eq=False)
class Cut:
    """What a capacity comes to, looked up once (`PrunableEncoder.at`); weights and scores are read when it is used.

    Attributes:
        asked: The capacity asked for, in (0, 1].
        achieved: Kept / dense prunable parameters; never above `asked`.
        multiple: Widths are multiples of this where the group allows it; None where single weights are masked.
        widths: How many units each channel group keeps, or how many weights each layer.
    """

    asked: float
    achieved: float
    multiple: int | None
    widths: Widths
    _encoder: Encoder = field(repr=False)
    _cutter: ChannelCut | WeightCut = field(repr=False)
    _scores: Mapping[str, Tensor] = field(repr=False)
    _adapters: Adapters | None = field(repr=False)

    def kept(self) -> list[Tensor]:
        """Return the kept units of each group, int64, ascending, or each layer's mask, bool of its weight's shape."""
        return self._cutter.kept(self.widths, self._scores)

    def adapted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors with the corrections of this subnetwork, before anything is cut out of them.

        Args:
            tensors: Parameters, buffers or both of the dense encoder, by name.
        """
        if self._adapters is None or self.achieved == 1:
            return tensors
        adapted: Mapping[str, Tensor] = self._adapters(tensors, self.achieved)
        return adapted

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cut this subnetwork out of tensors of the dense encoder; differentiable in them."""
        return self._cutter.cut(tensors, self.widths, self._scores)

    def skeleton(self) -> Encoder:
        """Return a plain encoder on the meta device: shapes without weights, in milliseconds."""
        return self._cutter.skeleton(self.widths)

    def zeros(self) -> Mapping[str, int]:
        """Return how many weights of a parameter are masked, by its name; empty where whole channels are cut."""
        return self._cutter.zeros(self.widths)

    def extract(self) -> Encoder:
        """Return a plain, physically smaller encoder: no masks, hooks or subclass left.

        Its BatchNorm statistics are the dense encoder's; `settled` re-estimates them.

        Returns:
            Encoder in eval mode, float32 [N, 3, H, W] raw RGB -> float32 [N, D] unit length.
        """
        module = self.skeleton().to_empty(device="cpu")
        with torch.no_grad():
            adapted = self.adapted(self._encoder.state_dict())
            stored = set(adapted)
            # Not persistent ones too: position indices and the like.
            tensors = self.of({**dict(self._encoder.named_buffers()), **adapted})
            module.load_state_dict({name: t.cpu() for name, t in tensors.items() if name in stored})
            for name, buffer in module.named_buffers():
                if name not in stored:
                    buffer.copy_(tensors[name])
        return module.eval()

    def settled(self, calibration: npt.NDArray[np.uint8]) -> Encoder:
        """Extract, with BatchNorm statistics of its own; the dense encoder keeps those that it has.

        Args:
            calibration: uint8 [C, H, W, 3]; not looked at for the dense encoder.
        """
        module = self.extract()
        if self.achieved < 1:
            reestimate(module, torch.from_numpy(calibration))
        return module
