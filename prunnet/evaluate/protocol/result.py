"""What a protocol says about one pair of query and gallery embeddings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ProtocolResult:
    """Official figures, each a mean over the counted queries of its split.

    Attributes:
        task: Name of the benchmark.
        figures: Name -> value in [0, 1], e.g. "mAP", "Recall@10", "mP@5 H", "mAP@100 private"; where a benchmark has
            several splits or difficulties, a name ends in it.
        queries: Split -> queries that count. A benchmark without splits has the one "all".
        skipped: Split -> queries that have no relevant item, and do not count.
        notes: What a reader of the figures must know: that they are approximate, or that one is left out.
    """

    task: str
    figures: dict[str, float]
    queries: dict[str, int]
    skipped: dict[str, int]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
