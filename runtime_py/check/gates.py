"""Gates: one figure against one tolerance each. Every comparison is written so that NaN fails it.

Each family answers one question:

* parity: does the artifact embed as the torch subnetwork does? The export's own error.
* compression: what did a quantised artifact lose against the torch subnetwork, in closeness and in retrieval?
* compatibility: do its queries find, in the **dense** gallery, what dense queries find? What the user feels.
* closeness: do its embeddings lie where the dense ones lie, whatever the labels say?
* recorded: are the figures those of the export?
* preprocess: are pictures of original size decoded and resized as the server's are?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime_py.bundle.manifest import Figures
from runtime_py.bundle.tolerances import Tolerances

_ROUNDING = 1e-9
"""Slack of every comparison: 0.90 - 0.85 is 0.05 to the user, but not in floating point."""
_FLIPS = 2
"""Queries that rounding may turn either way, however few there are: fewer are no sign of a loss."""


@dataclass(frozen=True)
class Gate:
    """One figure against its tolerance."""

    name: str
    """Gate and figure, e.g. "parity.min_cosine"."""
    value: float
    tolerance: float
    passed: bool
    at_least: bool = True
    """Whether the tolerance is the smallest (else the largest) allowed value."""
    where: str = ""
    """Where the figure is worst, if it has such a place, e.g. "worst probe: 17"."""

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        place = f" ({self.where})" if self.where else ""
        value, tolerance = _told_apart(self.value, self.tolerance)
        return f"{self.name} is {value}, {relation} {tolerance} is demanded{place}"


def _told_apart(value: float, tolerance: float) -> tuple[str, str]:
    """Return both with as few digits, three to eight, as keep their order; a tolerance shows all of so few."""
    stated = next((n for n in range(3, 9) if float(f"{tolerance:.{n}g}") == tolerance), 3)
    for digits in range(3, 9):
        texts = f"{value:.{digits}g}", f"{tolerance:.{max(digits, stated)}g}"
        shown, allowed = map(float, texts)
        ordered = (shown < allowed, shown > allowed) == (value < tolerance, value > tolerance)
        if ordered and not any("e+" in text for text in texts):
            return texts
    return f"{value:.8g}", f"{tolerance:.8g}"


def at_least(name: str, value: float, tolerance: float, where: str = "") -> Gate:
    """Return a gate that passes if `value` is `tolerance` or more; NaN fails."""
    return Gate(name, value, tolerance, bool(value >= tolerance - _ROUNDING), where=where)


def at_most(name: str, value: float, tolerance: float, where: str = "") -> Gate:
    """Return a gate that passes if `value` is `tolerance` or less; NaN fails."""
    return Gate(name, value, tolerance, bool(value <= tolerance + _ROUNDING), at_least=False, where=where)


def describe(judged: tuple[Gate, ...]) -> tuple[str, ...]:
    """Return one sentence for each gate that failed."""
    return tuple(str(gate) for gate in judged if not gate.passed)


def gates(figures: Figures, tolerances: Tolerances, recorded: Figures | None = None) -> tuple[Gate, ...]:
    """Compare every figure that has a tolerance.

    Args:
        figures: What was measured.
        tolerances: What it may be. A figure whose tolerance is None is not judged.
        recorded: What the exporter measured of the same artifact on the same probes, if this is a later check.
    """
    return (
        *_closeness_to_subnetwork(figures, tolerances),
        *_compression(figures, tolerances),
        *_compatibility(figures, tolerances),
        *_closeness(figures, tolerances),
        *(recorded_gates(figures, recorded, tolerances) if recorded else ()),
    )


def parity_gates(figures: Figures, tolerances: Tolerances) -> tuple[Gate, ...]:
    """Compare closeness to the torch subnetwork alone.

    Args:
        figures: What was measured.
        tolerances: What it may be.
    """
    return tuple(_closeness_to_subnetwork(figures, tolerances))


def recorded_gates(figures: Figures, recorded: Figures, tolerances: Tolerances) -> Iterator[Gate]:
    """Compare with the export alone; the arguments are those of `gates`."""
    for name, cosine, least in (
        ("min_cosine", figures.recorded_min_cosine, tolerances.min_recorded_cosine),
        ("mean_cosine", figures.recorded_mean_cosine, tolerances.min_recorded_mean_cosine),
    ):
        if cosine is not None and least is not None:
            yield at_least(f"recorded.{name}", cosine, least)
    drop, change = tolerances.max_recorded_drop, tolerances.max_recorded_change
    if drop is not None:
        for name, now, then in (
            ("recall_at_1", figures.recall_at_1, recorded.recall_at_1),
            ("recall_at_1_dense", figures.recall_at_1_dense, recorded.recall_at_1_dense),
            ("map", figures.map, recorded.map),
            ("map_dense", figures.map_dense, recorded.map_dense),
        ):
            yield at_most(f"recorded.{name}_drop", then - now, drop)
    if change is not None:
        moved = abs(figures.mean_cosine_to_dense - recorded.mean_cosine_to_dense)
        yield at_most("recorded.cosine_to_dense_change", moved, change)


def resize_gates(
    lowest: float, mean: float, tolerances: Tolerances, where: str = "", family: str = "preprocess"
) -> tuple[Gate, ...]:
    """Compare how pictures of original size were decoded and resized; see `runtime_py.check.originals`.

    Args:
        lowest: Smallest cosine of an original's embedding with the one it must have.
        mean: Mean of the same.
        tolerances: What they may be; one that is None is not judged.
        where: Where the smallest is.
        family: What the gates are called.
    """
    wanted = (
        ("min_cosine", lowest, tolerances.min_preprocess_cosine),
        ("mean_cosine", mean, tolerances.min_preprocess_mean_cosine),
    )
    return tuple(
        at_least(f"{family}.{name}", value, least, where)
        for name, value, least in wanted
        if least is not None
    )


def _closeness_to_subnetwork(figures: Figures, tolerances: Tolerances) -> Iterator[Gate]:
    where = f"worst probe: {figures.worst_probe}"
    yield at_least("parity.finite", float(figures.finite), 1.0, where)
    yield at_least("parity.unit_length", float(figures.unit_length), 1.0, where)
    family = "parity" if tolerances.max_compression_drop is None else "compression"
    yield at_least(f"{family}.min_cosine", figures.min_cosine, tolerances.min_cosine, where)
    yield at_least(f"{family}.mean_cosine", figures.mean_cosine, tolerances.min_mean_cosine, where)
    yield at_least(f"{family}.top1_agreement", figures.top1_agreement, tolerances.min_top1_agreement, where)
    if figures.synthetic_min_cosine is not None and tolerances.min_synthetic_cosine is not None:
        picture = f"worst parity picture: {figures.worst_picture}"
        yield at_least(
            f"{family}.synthetic_min_cosine",
            figures.synthetic_min_cosine,
            tolerances.min_synthetic_cosine,
            picture,
        )


def _compression(figures: Figures, tolerances: Tolerances) -> Iterator[Gate]:
    most = tolerances.max_compression_drop
    if most is None or figures.recall_at_1_subnetwork is None or figures.map_subnetwork is None:
        return
    most = max(most, _FLIPS / max(1, figures.queries or 0))
    yield at_most("compression.recall_at_1_drop", figures.recall_at_1_subnetwork - figures.recall_at_1, most)
    yield at_most("compression.map_drop", figures.map_subnetwork - figures.map, most)


def _compatibility(figures: Figures, tolerances: Tolerances) -> Iterator[Gate]:
    recall_drop = figures.recall_at_1_dense - figures.recall_at_1
    yield at_most("compatibility.recall_at_1_drop", recall_drop, tolerances.max_recall_drop)
    map_drop = figures.map_dense - figures.map
    yield at_most("compatibility.map_drop", map_drop, tolerances.max_map_drop)


def _closeness(figures: Figures, tolerances: Tolerances) -> Iterator[Gate]:
    if figures.closeness is not None and tolerances.min_closeness is not None:
        yield at_least("closeness.to_dense", figures.closeness, tolerances.min_closeness)
    if figures.own_picture is not None and tolerances.min_own_picture is not None:
        yield at_least("closeness.own_picture", figures.own_picture, tolerances.min_own_picture)
