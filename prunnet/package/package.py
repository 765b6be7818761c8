"""A loaded encoder package: its encoder, what is said of it, and its pictures."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.package.curve import Curve, read_curve
from prunnet.package.images import PackageImages
from prunnet.package.metadata import EncoderMetadata
from prunnet.pruning.prunable import PrunableEncoder
from runtime_py.bundle.manifest import Preprocessing
from runtime_py.bundle.probes import unit_lengths
from runtime_py.errors import IncompatibleError
from runtime_py.retrieval.metrics import row_cosines

SAMPLED_PROBES = 8
"""Dense embeddings that are taken over are compared with this many computed anew, spread over the probes."""
SAMPLE_DISTANCE = 1e-5
"""Largest 1 - cosine between the two: other batches and processors differ by some 1e-9."""


class EncoderPackage:
    """A loaded encoder package. Use `load_encoder` to get one.

    It can be measured as it is, at the capacities that were trained (`prunnet.evaluate.family.Family`).
    """

    def __init__(self, path: Path, metadata: EncoderMetadata, prunable: PrunableEncoder) -> None:
        self.path, self.metadata, self.prunable = path, metadata, prunable
        self._taken: npt.NDArray[np.float32] | None = None

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
    def capacities(self) -> tuple[float, ...]:
        """The capacities that were trained, ascending; the last is 1.0, the dense encoder."""
        return self.metadata.training_capacities

    @property
    def min_capacity(self) -> float:
        """The least capacity that was trained."""
        return min(self.capacities)

    @cached_property
    def curve(self) -> Curve | None:
        """What training measured at each capacity; None if the package does not say.

        Raises:
            EncoderError: `metrics.curve` is malformed.
        """
        return read_curve(self.metadata.metrics, self.path / "encoder.json")

    def expected_map(self, capacity: float) -> float | None:
        """Return the mean average precision that a subnetwork's queries reach in the dense gallery, in points, 0..100.

        Args:
            capacity: Capacity reached, in (0, 1].

        Returns:
            What the curve says; None without a curve.

        Raises:
            EncoderError: `metrics.curve` is malformed.
        """
        return None if self.curve is None else self.curve.dense_map - 100 * self.curve.map_drop(capacity)

    @cached_property
    def probes(self) -> PackageImages:
        """Held-out images with labels, and the calibration images.

        Raises:
            EncoderError: `probes.npz` is missing or not what it must be.
        """
        return PackageImages.load(self.path / "probes.npz", self.preprocessing)

    def subnetwork(self, capacity: float, multiple: int | None = None) -> Encoder:
        """Extract one subnetwork, ready for use: BatchNorm statistics re-estimated on the calibration images.

        The dense encoder (capacity 1.0) is returned as it is: its statistics are part of the space id.

        Returns:
            Encoder in eval mode, float32 [N, 3, H, W] raw RGB -> float32 [N, D] unit length.
        """
        cut = self.prunable.at(capacity, multiple)
        return cut.extract() if cut.achieved == 1 else cut.settled(self.probes.calibration)

    def achieved(self, capacity: float) -> float:
        """Return kept / dense prunable parameters when `capacity` is asked for; never above it."""
        return self.prunable.at(capacity).achieved

    @cached_property
    def dense(self) -> npt.NDArray[np.float32]:
        """The dense encoder's embeddings of the probes, float32 [P, D], unit length; computed once.

        Raises:
            IncompatibleError: Those that were taken over are not this encoder's, as far as was sampled; names the
                sampled probe that differs most.
        """
        if self._taken is None:
            return embed(self.subnetwork(1.0), self.probes.images)
        self._check(self._taken)
        return self._taken

    @property
    def knows_dense(self) -> bool:
        """Whether `dense` is there without computing it."""
        return self._taken is not None or "dense" in vars(self)

    def take_dense(self, embeddings: npt.NDArray[np.float32]) -> None:
        """Let `dense` be what another process has computed; it is checked when it is first read.

        Args:
            embeddings: float32 [P, D], of the probes, in their order.
        """
        vars(self).pop("dense", None)
        self._taken = embeddings

    def _check(self, embeddings: npt.NDArray[np.float32]) -> None:
        """Embed `SAMPLED_PROBES` again and compare: the embeddings may be another encoder's, or in another order.

        All are checked for their shape and unit length. A fault in rows that are not sampled stays unseen here; an
        export's gates on closeness see it if it is large.
        """
        images = self.probes.images
        remedy = "embed the package's probes, in their order, with its capacity 1.0, or give none"
        wanted = (len(images), self.metadata.dimension)
        if embeddings.shape != wanted:
            raise IncompatibleError(
                f"the dense embeddings have shape {list(embeddings.shape)}, not {list(wanted)}: {remedy}"
            )
        if not unit_lengths(embeddings).all():
            raise IncompatibleError(f"the dense embeddings are not all finite and of unit length: {remedy}")
        rows = np.unique(np.linspace(0, len(images) - 1, SAMPLED_PROBES).round().astype(int))
        distances = 1 - row_cosines(embed(self.subnetwork(1.0), images[rows]), embeddings[rows])
        if not distances.max() <= SAMPLE_DISTANCE:
            probe = int(rows[distances.argmax()])
            raise IncompatibleError(
                f"the dense embeddings are not those of {self.name}: probe {probe} differs by {distances.max():.2g} "
                f"(1 - cosine); {remedy}"
            )
