"""The networks of a run at its beginning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from prunnet.encoder.encoder import Encoder
from prunnet.errors import TrainingError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.step.step import Classifier, JointStep

_NONE = torch.empty(0, 0, 0)
"""Has the shape of no parameter."""


@dataclass(frozen=True)
class Start:
    """Where a run starts, if not at a dense encoder with a fresh classifier.

    Attributes:
        capacity: Train a narrower network of this capacity by itself.
        classifier: Learn through this classifier, which stays as it is.
        dense: A finished dense encoder; the run begins with its second round, and the encoder stays as it is.
    """

    capacity: float = 1.0
    classifier: Classifier | None = None
    dense: Encoder | None = None


AFRESH = Start()


def build(recipe: Recipe, classes: int, device: torch.device, start: Start) -> JointStep:
    """Return the networks of a run at its beginning, from torch's own random numbers.

    Args:
        recipe: The run.
        classes: Number of training classes.
        device: Where it trains.
        start: Where it starts.

    Raises:
        TrainingError: A finished dense encoder is not the recipe's, or the recipe has no second round for it.
    """
    spec, method = recipe.encoder, recipe.method
    encoder = Encoder.from_timm(
        spec.backbone,
        dimension=spec.dimension,
        image_size=spec.image_size,
        pretrained=spec.pretrained,
        options=spec.options,
        resize=spec.resize,
    )
    rule = method.cut_rule
    if start.capacity < 1:
        whole = PrunableEncoder(encoder, replace(rule, granularity="channel", adapters="none"))
        whole.reset_scores("prefix")
        encoder = whole.at(start.capacity).extract()
        rule = replace(rule, keep_factors={})  # a narrower one is not cut again
    if start.dense is not None:
        _take_weights(encoder, start.dense, recipe)
    prunable = PrunableEncoder(encoder, rule)
    for capacity in method.capacities:
        prunable.at(capacity)  # one that is too small to reach is an error now, not after hours
    prunable.reset_scores(method.scores)
    scale = recipe.schedule.scale if recipe.schedule.classifier == "cosine" else None
    classifier = Classifier(spec.dimension, classes, scale)
    if start.classifier is not None:
        classifier.load_state_dict(start.classifier.state_dict())
        classifier.requires_grad_(False)
    prunable.to(device)
    if encoder.channels_last:
        for part in (prunable.encoder, prunable.scores):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return JointStep(prunable, classifier.to(device), method, recipe.schedule.precision)


def _take_weights(encoder: Encoder, dense: Encoder, recipe: Recipe) -> None:
    if recipe.schedule.follow is None:
        raise TrainingError(
            f"recipe {recipe.name!r} trains the dense encoder in every step, so a finished one cannot stay as it is; "
            "use a method with subnetworks: after, such as prunnet, and schedule.follow"
        )
    given, wanted = dense.state_dict(), encoder.state_dict()
    different = [
        n for n in sorted({*given, *wanted}) if given.get(n, _NONE).shape != wanted.get(n, _NONE).shape
    ]
    if different or dense.framing != encoder.framing:
        what = different[0] if different else "the image size or the resize"
        raise TrainingError(
            f"the dense encoder is not the one that recipe {recipe.name!r} describes: {what} differs; write its "
            "backbone, options, image_size, resize and dimension into encoder"
        )
    encoder.load_state_dict(given)
