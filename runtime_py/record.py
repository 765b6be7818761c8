"""The base of every value that is read from a file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Frozen; a key that it does not know, an infinite number or none at all (NaN) is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
