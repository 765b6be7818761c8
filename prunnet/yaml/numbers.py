"""The numbers and flags that recipes and encoder packages may state, each with the range in which it means something.

They are strict: `true` is no 1, and `"3"` no 3. The bounds are far from what anyone trains with; beyond them a number
overflows or vanishes in float32, or asks for more than a machine has.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

MOST_PIXELS = 2048
"""Of an input's height or width."""

MOST_FEATURES = 2**16
"""Of a backbone's channels, and of an embedding's dimensions."""

MOST_CAPACITIES = 1000


def _no_boolean(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not a whole number")
    return value


Flag = Annotated[bool, Field(strict=True)]
"""`yes` and `1` are no booleans in YAML 1.2, and none here."""

NoBoolean = BeforeValidator(_no_boolean)
"""For `Literal[1]`, which `true` and `1.0` equal."""

Pixels = Annotated[int, Field(strict=True, gt=0, le=MOST_PIXELS)]
Features = Annotated[int, Field(strict=True, gt=0, le=MOST_FEATURES)]
Steps = Annotated[int, Field(strict=True, gt=0, le=10**9)]
"""Or epochs."""
WarmUp = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Draws = Annotated[int, Field(strict=True, gt=0, le=MOST_CAPACITIES)]
BatchSize = Annotated[int, Field(strict=True, ge=2, le=2**20)]
HeldPictures = Annotated[int, Field(strict=True, ge=4, le=10**6)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]

Duration = Annotated[float, Field(strict=True, ge=0, le=1e9)]
"""Steps or epochs, as a number with a fraction."""
Milestone = Annotated[float, Field(strict=True, gt=0, le=1e9)]
LearningRate = Annotated[float, Field(strict=True, ge=1e-12, le=1000)]
WeightDecay = Annotated[float, Field(strict=True, ge=0, le=100)]
Norm = Annotated[float, Field(strict=True, ge=1e-9, le=1e12)]
"""Of gradients."""
Factor = Annotated[float, Field(strict=True, ge=1e-6, le=1e6)]
"""On a loss, on logits or on a length."""
Weight = Annotated[float, Field(strict=True, ge=0, le=1e6)]
"""Of a loss; 0 leaves it out."""
Exponent = Annotated[float, Field(strict=True, ge=0, le=100)]

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(strict=True, ge=0, lt=1)]
PositiveShare = Annotated[float, Field(strict=True, ge=1e-6, le=1)]
HeldClasses = Annotated[float, Field(strict=True, ge=1e-6, lt=1)]
Capacity = Annotated[float, Field(strict=True, ge=1e-6, le=1)]
CapacityBelowOne = Annotated[float, Field(strict=True, ge=1e-6, lt=1)]
