"""Encoders of one embedding space (or so it is claimed), by capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.arrays import Pixels


class Family(Protocol):
    """What can be measured against its own dense encoder, whatever made it; an encoder package is one."""

    @property
    def capacities(self) -> tuple[float, ...]:
        """Ascending; the last is 1.0, the dense encoder."""

    def subnetwork(self, capacity: float) -> Encoder:
        """Return the encoder of one of `capacities`, in eval mode, its BatchNorm statistics settled."""

    def achieved(self, capacity: float) -> float:
        """Return kept / dense prunable parameters."""


class CutFamily:
    """The subnetworks of one prunable encoder.

    Args:
        prunable: Its dense BatchNorm statistics are final.
        calibration: uint8 [C, H, W, 3], for the subnetworks' BatchNorm statistics.
        capacities: In (0, 1], in any order; 1.0 is added.

    Raises:
        EncoderError: No subnetwork has one of the capacities.
    """

    def __init__(
        self, prunable: PrunableEncoder, calibration: Pixels, capacities: Sequence[float] = ()
    ) -> None:
        for capacity in capacities:
            prunable.at(capacity)  # refuses what cannot be cut before anything is measured
        self.prunable, self.calibration = prunable, calibration
        self.capacities = tuple(sorted({*capacities, 1.0}))

    def subnetwork(self, capacity: float) -> Encoder:
        """Extract a subnetwork and re-estimate its statistics; the dense encoder keeps its own."""
        return self.prunable.at(capacity).settled(self.calibration)

    def achieved(self, capacity: float) -> float:
        """Return kept / dense prunable parameters; never above `capacity`."""
        return self.prunable.at(capacity).achieved


class SeparateFamily:
    """Networks that were trained one for each capacity (`prunnet.train.separate`).

    Args:
        networks: Capacity -> network; BatchNorm statistics are final. One is the dense one, 1.0.
    """

    def __init__(self, networks: Mapping[float, PrunableEncoder]) -> None:
        self.networks = networks
        self.capacities = tuple(sorted(networks))

    def subnetwork(self, capacity: float) -> Encoder:
        """Return the network of that capacity."""
        return self.networks[capacity].at(1.0).extract()

    def achieved(self, capacity: float) -> float:
        """Return the share of the dense network's prunable parameters that the narrower one has."""
        return self.networks[1.0].at(capacity).achieved
