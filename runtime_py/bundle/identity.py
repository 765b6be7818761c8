"""What every artifact says about itself, whatever its format."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

SPACE_KEY = "prunnet.space_id"
"""The entry that a server's model states too."""


@dataclass(frozen=True)
class Identity:
    """Which encoder an artifact is, written inside of it as text entries `prunnet.<field>`.

    Args:
        name: Name of the encoder, e.g. "glyphs".
        space_id: Fingerprint of the embedding space.
        capacity: Achieved capacity in (0, 1].
        dimension: D, length of the embedding.
        version: Version of prunnet that exported.
    """

    name: str
    space_id: str
    capacity: float
    dimension: int
    version: str

    def entries(self) -> dict[str, str]:
        """Return the entries to write; the capacity's text is exact."""
        return {
            "prunnet.name": self.name,
            SPACE_KEY: self.space_id,
            "prunnet.capacity": repr(float(self.capacity)),
            "prunnet.dimension": str(self.dimension),
            "prunnet.version": self.version,
        }

    @classmethod
    def of(cls, found: Mapping[str, str]) -> Identity:
        """Read the identity off an artifact's entries; others among them are passed over.

        Raises:
            ValueError: An entry is missing, or is no number where one must be.
        """
        keys = [f"prunnet.{field.name}" for field in fields(cls)]
        missing = [key for key in keys if key not in found]
        if missing:
            raise ValueError(f"does not say what it is (missing {', '.join(missing)})")
        name, space_id, capacity, dimension, version = (found[key] for key in keys)
        if not re.fullmatch("[1-9][0-9]{0,8}", dimension):
            raise ValueError(f"says prunnet.dimension = {dimension!r}, which is no length")
        try:
            return cls(name, space_id, float(capacity), int(dimension), version)
        except ValueError as error:
            raise ValueError(f"says prunnet.capacity = {capacity!r}, which is no number") from error

    def differences(self, stated: Identity) -> list[str]:
        """Return each entry that `stated` has otherwise, as a sentence; capacities may differ by 1e-9 of theirs."""
        theirs = stated.entries()
        return [
            f"says {key} = {value!r}, its manifest says {theirs[key]!r}"
            for key, value in self.entries().items()
            if value != theirs[key]
            and not (key == "prunnet.capacity" and math.isclose(self.capacity, stated.capacity, rel_tol=1e-9))
        ]
