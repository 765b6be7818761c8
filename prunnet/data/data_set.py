"""A data set: what is trained on, and what is retrieved."""

from __future__ import annotations

from dataclasses import dataclass

from prunnet.data.official.task import RetrievalTask
from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.errors import DatasetError


@dataclass(frozen=True)
class DataSet:
    """A data set, ready for one input size.

    Attributes:
        train: Training images.
        test: Images in memory, or an official benchmark, which is measured by its own protocol.
        name: What it is called in packages.
        notes: What is to be said of it before the first step, a line each.
        shared_classes: Test classes that are also trained on, as far as names tell.

    Raises:
        DatasetError: Fewer than two training classes.
    """

    train: TrainingSource
    test: RetrievalSet | RetrievalTask
    name: str
    notes: tuple[str, ...] = ()
    shared_classes: int = 0

    def __post_init__(self) -> None:
        if self.train.classes < 2:
            raise DatasetError(
                f"{self.name}: all training pictures ({self.train.size:,}) are of one class, from which nothing can "
                "be told apart; give at least two training classes"
            )
