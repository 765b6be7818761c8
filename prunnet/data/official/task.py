"""A retrieval benchmark as a value: what to embed, what is right, which figures are official."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from prunnet.data.augment import Augment
from prunnet.data.folders.picture_training import PictureTraining
from prunnet.data.official.truth import Truth
from prunnet.data.pictures import Into, Pictures
from prunnet.errors import DatasetError

EVALUATION_ONLY = ("roxford5k", "rparis6k")
"""Benchmarks that officially have no training pictures."""


@dataclass(frozen=True)
class Rules:
    """The figures of a protocol.

    Attributes:
        average: How the precisions of one query become its average precision: "steps", the mean of the precision
            at each relevant item; "trapezoid", the area under the precision-recall curve, drawn with straight
            lines; "first", steps among the first `cutoff` items, over min(relevant items, `cutoff`).
        cutoff: For "first", and only for it.
        recall_at: k of Recall@k, the fraction of queries with a relevant item among the first k (CMC).
        precision_at: k of mP@k, the fraction of relevant items among the first k; k shrinks to the rank of a
            query's last relevant item.
    """

    average: Literal["steps", "trapezoid", "first"] = "steps"
    cutoff: int | None = None
    recall_at: tuple[int, ...] = ()
    precision_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert (self.average == "first") == (self.cutoff is not None)


@dataclass(frozen=True)
class Count:
    """How many of something the benchmark officially has, and how many are here."""

    what: str
    official: int
    found: int


@dataclass(frozen=True, eq=False)
class Labelled:
    """Training pictures and the class of each, int64 [N], any numbers."""

    pictures: Pictures
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """One benchmark, opened.

    Attributes:
        name: Its name in the registry.
        queries: What the device embeds; with boxes where the protocol crops.
        gallery: What the server has embedded. Equal to `queries` where every picture is a query.
        truths: What is right; several where the protocol judges the same queries in several ways.
        rules: Which figures are measured.
        train: What to train on, where the benchmark has it and it is listed here.
        counts: Official counts beside those found.
    """

    name: str
    queries: Pictures
    gallery: Pictures
    truths: tuple[Truth, ...]
    rules: Rules
    train: Labelled | None
    counts: tuple[Count, ...]

    @property
    def differences(self) -> tuple[Count, ...]:
        """The counts that are not the official ones; figures of such a copy are not comparable with published ones."""
        return tuple(count for count in self.counts if count.found != count.official)

    def training(self, into: Into, augment: Augment | None = None) -> PictureTraining:
        """Return the training pictures as a `TrainingSource`.

        Args:
            into: As `PictureTraining`.
            augment: What is done to each picture.

        Raises:
            DatasetError: The benchmark has no training list here, or pictures of it are missing.
        """
        if self.train is None:
            remedy = (
                "it has none: train on gldv2 (--data ROOT) and measure with prunnet-eval "
                f"--dataset {self.name}=ROOT"
                if self.name in EVALUATION_ONLY
                else "add the list (docs/reference/datasets.md) or train on another data set"
            )
            raise DatasetError(f"{self.name} has no list of training pictures here; {remedy}")
        pictures = self.train.pictures.require(f"{self.name} training")
        return PictureTraining(pictures, self.train.labels, into, augment)
