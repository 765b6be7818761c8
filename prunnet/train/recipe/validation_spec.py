"""What a recipe says about looking at retrieval while it trains."""

from __future__ import annotations

from typing import Literal

from prunnet.yaml.numbers import HeldClasses, HeldPictures, Steps
from runtime_py.record import Record


class ValidationSpec(Record):
    """Retrieval on held-out training classes. Training never sees them, and the test set is not used."""

    every: Steps
    """Steps between measurements. The end of the run is always measured."""
    classes: HeldClasses = 0.1
    """Share of the training classes to hold out, at least two. The seed chooses them."""
    pictures: HeldPictures = 512
    """Largest number of their pictures to measure."""
    package: Literal["last", "best"] = "last"
    """Which state becomes the encoder package: the last, or the best of those measured."""
