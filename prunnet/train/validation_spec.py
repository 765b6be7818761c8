"""What a recipe says about looking at retrieval while it trains."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from prunnet.numbers import HeldClasses, HeldPictures, Steps


class ValidationSpec(BaseModel):
    """Retrieval on training classes that are held out: training never sees them, and nothing looks at the test set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    every: Steps
    """Steps from one measurement to the next; the end of the run is always measured."""
    classes: HeldClasses = 0.1
    """Share of the training classes that is held out, two at least; the seed says which."""
    pictures: HeldPictures = 512
    """Pictures of these classes that are measured, at most."""
    package: Literal["last", "best"] = "last"
    """Which state becomes the encoder package: the last one, or the best of those measured."""
