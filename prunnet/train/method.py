"""How capacities are trained together: the options, and the named methods that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prunnet.capacity import KeepFactor
from prunnet.numbers import (
    MOST_CAPACITIES,
    CapacityBelowOne,
    Draws,
    Exponent,
    Factor,
    Features,
    PositiveShare,
    Share,
    ShareBelowOne,
    Weight,
)
from prunnet.train.idle import idle_options
from runtime_py.manifest import Granularity

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


class MethodSpec(BaseModel):
    """How capacities are trained together; `docs/research/method.md` says what each choice was worth."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = "prunnet"
    """One of `METHODS`; it gives the options that are not said."""
    granularity: Granularity = "channel"
    channel_multiple: Features = 8
    spare_narrow: Share = 0.0
    """How much later narrow channel groups are cut than wide ones: 0, all keep the same ratio of their channels; 1, the
    same number of channels, as far as they have them (`prunnet.capacity`). Of masks, the same for the weights of small
    layers and large ones (`prunnet.weight`)."""
    keep_factors: dict[str, KeepFactor] = Field(default_factory=dict)
    """Factors on what single groups or layers keep, by patterns of their names, such as `"*.layer4.*.conv1": 0.5`
    (`prunnet.capacity.stretches`)."""
    capacities: tuple[CapacityBelowOne, ...] = Field(default=(0.2, 0.4, 0.6, 0.8), max_length=MOST_CAPACITIES)
    """Capacities beside the dense one, ascending; empty trains the dense encoder alone."""
    networks: Literal["one", "own-classifier", "dense-classifier"] = "one"
    """One network for all capacities, or one for each: with a classifier of its own, or with the frozen one of the
    dense encoder, which is trained first."""
    subnetworks: Literal["together", "after"] = "together"
    """Subnetworks learn in every step together with the dense encoder, or after it, in a second round
    (`schedule.follow`) in which it stays as it is."""
    per_step: Draws | None = None
    """Subnetworks drawn for one step. None trains all of them in every step."""
    draw: Literal["listed", "sandwich"] = "listed"
    """What `per_step` draws: among the capacities, all alike probable; or the smallest one and, for the rest, any
    capacity between it and the dense one, its logarithm uniform (after the sandwich rule; Yu and Huang, ICCV 2019)."""
    smallest_share: PositiveShare = 1.0
    """Share of the steps in which the sandwich rule takes the smallest capacity. In the others one from the lower half
    of the logarithms takes its place; on a GPU those steps are not replayed from a recording."""
    adapters: Literal["none", "smooth", "full", "switched"] = "none"
    """What the subnetworks have of their own (`prunnet.adapters`)."""
    dense_only: tuple[Part, ...] = PARTS
    """Parts that learn from the dense loss alone; BatchNorm's affine parameters are `norms`."""
    dense_share: ShareBelowOne = 0.0
    """Share of the steps, at the start, that trains the dense encoder alone."""
    objective: Literal["labels", "embedding"] = "labels"
    """What a subnetwork learns: the labels through the classifier, or the dense encoder's embedding."""
    distillation: Weight = 0.0
    """Weight of the embedding loss beside that of the labels."""
    subnetwork_weight: Factor = 1.0
    """Factor on each subnetwork's loss."""
    weighting: Literal["even", "uncertainty"] = "even"
    """Weights of the losses: all alike, or by evidential uncertainty, mean 1 (SFSC)."""
    project: bool = True
    """Remove conflicts between the gradients of the capacities."""
    protect_dense: bool = False
    """The dense gradient is never projected; the subnetworks' yield to it."""
    alpha: Exponent = 0.5
    """Exponent of the cosine weights; 0 weighs all gradients alike."""
    balance: Factor | None = None
    """Largest length of a subnetwork's gradient, in lengths of the dense one, tensor by tensor; None: no limit."""
    scores: Literal["magnitude", "random", "prefix"] = "magnitude"
    """Where the ranking starts; where the dense encoder trains alone first, magnitude is that of its weights at the
    end of that. Prefix ranks the first channels highest."""
    learn_scores: bool = True
    """Scores are trained. Else the ranking stays as it was; where nothing but the dense encoder is trained, magnitude
    is that of its weights at the end."""

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
        if list(self.capacities) != sorted(set(self.capacities)):
            raise ValueError("capacities: not ascending; allowed: each capacity once, ascending, without 1.0")
        if self.scores == "prefix" and self.granularity == "weight":
            raise ValueError("scores: weights have no prefix; allowed: magnitude, random")
        if self.networks != "one" and self.granularity == "weight":
            raise ValueError("networks: separate networks are narrower ones; allowed: granularity channel")
        if self.weighting == "uncertainty" and self.objective == "embedding":
            raise ValueError("weighting: uncertainty is read off class logits; allowed: objective labels")
        if self.draw == "sandwich" and self.capacities and (self.per_step or 0) < 2:
            raise ValueError(
                "draw: the sandwich rule draws the smallest capacity and others; allowed: per_step of at least 2"
            )
        if self.draw == "listed" and self.capacities and (self.per_step or 0) > len(self.capacities):
            raise ValueError(
                f"per_step: there are {len(self.capacities)} capacities to draw from; allowed: at most as many, or "
                "draw sandwich"
            )
        if self.subnetworks == "after":
            self._agree_after()
        self._refuse_idle()
        return self

    def _agree_after(self) -> None:
        """Refuse what has no meaning where subnetworks follow a dense encoder at rest."""
        if (self.objective, self.networks) != ("embedding", "one"):
            raise ValueError(
                "subnetworks: after a dense encoder they follow its embedding; allowed: objective embedding and "
                "networks one"
            )
        if self.adapters == "none" and self.capacities:
            raise ValueError(
                "subnetworks: nothing of their own could learn; allowed: adapters full, smooth or switched"
            )

    def _refuse_idle(self) -> None:
        """Refuse what was set and has no effect beside the other options."""
        named = METHODS[self.name]
        for option, remedy in idle_options(self).items():
            plain = type(self).model_fields[option].default
            usual = named.get(option, plain)
            if getattr(self, option) not in (plain, tuple(usual) if isinstance(usual, list) else usual):
                raise ValueError(f"{option}: has no effect {remedy}")
