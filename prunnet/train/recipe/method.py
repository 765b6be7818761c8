"""How capacities are trained together: the options, and the named methods that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, model_validator

from prunnet.pruning.capacity import KeepFactor
from prunnet.pruning.rule import AdapterKind, CutRule
from prunnet.train.recipe.idle import idle_options
from prunnet.yaml.numbers import (
    MOST_CAPACITIES,
    CapacityBelowOne,
    Draws,
    Exponent,
    Factor,
    Features,
    Flag,
    PositiveShare,
    Share,
    ShareBelowOne,
    Weight,
)
from runtime_py.bundle.manifest import Granularity
from runtime_py.record import Record

Part = Literal["classifier", "projector", "norms"]
PARTS: tuple[Part, ...] = ("classifier", "projector", "norms")

_SLIMMABLE = {
    "scores": "prefix",
    "learn_scores": False,
    "adapters": "switched",
    "dense_only": [],
    "alpha": 0.0,
}

METHODS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The control: nets of each capacity that know nothing of one another.
        "independent": {"networks": "own-classifier"},
        # One dense encoder; its channels or weights ranked by magnitude, after training.
        "magnitude": {"capacities": [], "learn_scores": False},
        # Backward-compatible training (Shen et al., CVPR 2020): each net learns through the frozen dense classifier.
        "bct": {"networks": "dense-classifier"},
        # A plain sum of the capacities' losses.
        "joint": {"project": False, "alpha": 0.0},
        # Slimmable networks (Yu et al., ICLR 2019): the first channels, own BatchNorm for each trained width.
        "switchnet": {**_SLIMMABLE, "project": False},
        # Wu et al., CVPR 2023: slimmable, with gradient projection and weights from evidential uncertainty.
        "sfsc": {**_SLIMMABLE, "project": True, "weighting": "uncertainty"},
        # The paper (CVPR 2025).
        "prunnet-weight": {"granularity": "weight", "scores": "random"},
        # The same on channel groups.
        "prunnet-channel": {"granularity": "channel"},
        # What measured best here (docs/research/results.md).
        "prunnet": {
            "spare_narrow": 0.25,
            "subnetworks": "after",
            "adapters": "full",
            "objective": "embedding",
            "capacities": [0.1],
            "draw": "sandwich",
            "per_step": 2,
            "project": False,
            "alpha": 0.0,
            "learn_scores": False,
        },
    }
)
"""Method -> the options that make it; a recipe may change single ones."""


class MethodSpec(Record):
    """How capacities are trained (docs/research/method.md has what each choice was worth)."""

    name: str = "prunnet"
    """A named method; it sets the options that the recipe leaves out."""
    granularity: Granularity = "channel"
    """What is pruned: whole channels, which makes tensors smaller, or single weights, which masks them."""
    channel_multiple: Features = 8
    """Channel counts are multiples of this. A device profile brings its own at export."""
    spare_narrow: Share = 0.0
    """Spares narrow channel groups: at 0 every group keeps the same share of its channels, at 1 the same number of
    channels, as far as it has them. With granularity `weight`, the same for small and large layers."""
    keep_factors: dict[str, KeepFactor] = Field(default_factory=dict)
    """Factors on what single groups or layers keep, by patterns of their names, such as `"*.layer4.*.conv1": 0.5`."""
    capacities: tuple[CapacityBelowOne, ...] = Field(default=(0.2, 0.4, 0.6, 0.8), max_length=MOST_CAPACITIES)
    """Capacities to train besides the dense one, ascending. An empty list trains the dense encoder alone."""
    networks: Literal["one", "own-classifier", "dense-classifier"] = "one"
    """One network for all capacities, or a network for each: with its own classifier, or with the dense encoder's,
    which is trained first and frozen. `prunnet-train` accepts only `one`."""
    subnetworks: Literal["together", "after"] = "together"
    """Subnetworks train together with the dense encoder, or after it in a second round (`schedule.follow`) that leaves
    it unchanged."""
    per_step: Draws | None = None
    """Number of subnetworks drawn for each step. Without it every step trains all of them."""
    draw: Literal["listed", "sandwich"] = "listed"
    """What `per_step` draws. `listed`: any of the capacities, equally likely. `sandwich`: the smallest one, and any
    others between it and the dense one with a uniform logarithm (after the sandwich rule; Yu and Huang, ICCV 2019)."""
    smallest_share: PositiveShare = 1.0
    """Share of the steps in which the sandwich rule takes the smallest capacity. In the others, one from the lower half
    of the logarithms takes its place; on a GPU those steps are not replayed from a recording."""
    adapters: AdapterKind = "none"
    """Corrections that subnetworks have of their own: none, of the norms and the projector (`smooth`), of every weight
    (`full`), or a BatchNorm for each trained capacity (`switched`). Export folds them in."""
    dense_only: tuple[Part, ...] = PARTS
    """Parts that learn from the dense loss alone. `norms` are the affine parameters of BatchNorm."""
    dense_share: ShareBelowOne = 0.0
    """Share of the steps, at the start, that train the dense encoder alone."""
    objective: Literal["labels", "embedding"] = "labels"
    """What a subnetwork learns: the labels through the classifier, or the dense encoder's embedding."""
    distillation: Weight = 0.0
    """Weight of the embedding loss beside that of the labels."""
    subnetwork_weight: Factor = 1.0
    """Factor on each subnetwork's loss."""
    weighting: Literal["even", "uncertainty"] = "even"
    """Weights of the losses: equal, or by evidential uncertainty with mean 1 (SFSC)."""
    project: Flag = True
    """Removes conflicts between the gradients of the capacities."""
    protect_dense: Flag = False
    """Never projects the dense gradient; those of the subnetworks yield to it."""
    alpha: Exponent = 0.5
    """Exponent of the cosine weights; 0 gives all gradients the same weight."""
    balance: Factor | None = None
    """Largest length of a subnetwork's gradient, as a multiple of the dense one's, tensor by tensor."""
    scores: Literal["magnitude", "random", "prefix"] = "magnitude"
    """How channels or weights are ranked at the start. `magnitude` is that of the weights, taken after the dense
    encoder has trained alone, if it does; `prefix` ranks the first channels highest."""
    learn_scores: Flag = True
    """Trains the ranking. Otherwise it stays as it was; if only the dense encoder is trained, `magnitude` is that of
    its final weights."""

    @property
    def cut_rule(self) -> CutRule:
        """How its subnetworks are cut."""
        return CutRule.stated(self, self.capacities)

    @model_validator(mode="before")
    @classmethod
    def _take_what_the_name_says(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = values.get("name", cls.model_fields["name"].default)
        if not isinstance(name, str) or name not in METHODS:
            raise ValueError(f"name: no such method; allowed: {', '.join(METHODS)}")
        return {**METHODS[name], **values}

    @model_validator(mode="after")
    def _agree(self) -> MethodSpec:
        wrong = self._disagreements()
        named = {problem.partition(":")[0] for problem in wrong}
        wrong += [f"{option}: {idle}" for option, idle in self._idle().items() if option not in named]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _disagreements(self) -> list[str]:
        """Return what cannot be done together, a line for each."""
        count, drawn = len(self.capacities), self.per_step or 0
        after = self.subnetworks == "after"
        checks = {
            "capacities: not ascending; allowed: each capacity once, ascending, without 1.0": (
                list(self.capacities) != sorted(set(self.capacities))
            ),
            "scores: weights have no prefix; allowed: magnitude, random": (
                self.scores == "prefix" and self.granularity == "weight"
            ),
            "networks: separate networks are narrower ones; allowed: granularity channel": (
                self.networks != "one" and self.granularity == "weight"
            ),
            "weighting: uncertainty is read off class logits; allowed: objective labels": (
                self.weighting == "uncertainty" and self.objective == "embedding"
            ),
            "draw: the sandwich rule draws the smallest capacity and others; allowed: per_step of at least 2": (
                self.draw == "sandwich" and count > 0 and drawn < 2
            ),
            f"per_step: there are {count} capacities to draw from; allowed: at most as many, or draw sandwich": (
                self.draw == "listed" and 0 < count < drawn
            ),
            "subnetworks: after a dense encoder they follow its embedding; allowed: objective embedding and "
            "networks one": after and (self.objective, self.networks) != ("embedding", "one"),
            "adapters: subnetworks after a dense encoder learn nothing else; allowed: full, smooth or switched": (
                after and self.adapters == "none" and count > 0
            ),
        }
        return [problem for problem, is_there in checks.items() if is_there]

    def _idle(self) -> dict[str, str]:
        """Return what was set and has no effect beside the other options, and why."""
        named, found = METHODS[self.name], {}
        for option, remedy in idle_options(self).items():
            plain = type(self).model_fields[option].default
            usual = named.get(option, plain)
            if getattr(self, option) not in (plain, tuple(usual) if isinstance(usual, list) else usual):
                found[option] = f"has no effect {remedy}"
        return found
