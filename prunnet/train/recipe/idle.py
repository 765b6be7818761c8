"""Options of a method that have no effect beside others: a recipe that sets one would be obeyed in name only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunnet.train.recipe.method import MethodSpec

_INTEGRATION = ("project", "protect_dense", "alpha", "balance")
_JOINT = (
    "per_step",
    "draw",
    "smallest_share",
    "adapters",
    "dense_only",
    "dense_share",
    "objective",
    "distillation",
    "subnetwork_weight",
    "weighting",
    *_INTEGRATION,
)
"""What is of subnetworks that train in one network."""


def idle_options(method: MethodSpec) -> dict[str, str]:
    """Return the options that nothing reads, and where they would have an effect.

    Args:
        method: Options that agree otherwise.

    Returns:
        Name of the option -> the end of a sentence: beside what it has no effect, and what is allowed.
    """
    idle: dict[str, str] = {}

    def add(options: Iterable[str], remedy: str) -> None:
        for option in options:
            idle.setdefault(option, remedy)

    if method.networks != "one":
        remedy = "on separate networks; allowed: networks one"
        add((*_JOINT, "scores", "learn_scores", "subnetworks"), remedy)
    if not method.capacities:
        add(_JOINT, "without subnetworks; allowed: with capacities")
    if method.granularity == "weight":
        add(["channel_multiple"], "on single weights; allowed: granularity channel")
    if method.subnetworks == "after":
        together = ("dense_only", "dense_share", "distillation", "protect_dense", "balance")
        add(together, "after the dense encoder; allowed: subnetworks together")
    if method.objective == "embedding":
        add(["distillation"], "where the embedding is all that is learned; allowed: objective labels")
    if method.draw != "sandwich":
        add(["smallest_share"], "where no smallest capacity is drawn; allowed: draw sandwich")
    if not method.project:
        add(["protect_dense"], "where no gradient is projected; allowed: project true")
        if method.alpha:
            add(
                ["alpha"],
                "where no gradient is projected: all weigh alike; allowed: project true, or alpha 0",
            )
    return idle
