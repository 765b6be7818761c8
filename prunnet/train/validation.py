"""Retrieval while a run trains, on classes that it does not train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prunnet.data.held_out import DivisibleSource
from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.errors import TrainingError
from prunnet.evaluate.leave_one_out import LeaveOneOut
from prunnet.tensors import as_batch
from prunnet.train.checkpoint.best import Best, known_best, save_best
from prunnet.train.checkpoint.checkpoint import RunIdentity
from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.step.step import JointStep
from runtime_py.arrays import Floats, Pixels

CALIBRATION_IMAGES = 256
_BATCH = 128


@dataclass(frozen=True)
class Figures:
    """How an encoder retrieves, against the gallery of the dense one; in points (0..100)."""

    map: float
    recall_at_1: float


def divided(recipe: Recipe, source: TrainingSource) -> tuple[TrainingSource, RetrievalSet | None]:
    """Return what a recipe trains on, and the pictures of the classes that it holds out, if it does.

    Raises:
        TrainingError: The source cannot be divided.
        DatasetError: It has too few classes.
    """
    spec = recipe.validation
    if spec is None:
        return source, None
    if not isinstance(source, DivisibleSource):
        raise TrainingError(
            f"recipe {recipe.name!r}: validation needs training pictures that can be divided "
            "(prunnet.data.held_out.DivisibleSource); leave validation out"
        )
    return source.hold_out(spec.classes, spec.pictures, recipe.seed)


def about_validation(recipe: Recipe, held: RetrievalSet, classes: int) -> str:
    """Say what is held out; `classes` are those of the undivided source."""
    assert recipe.validation is not None
    labels, every = held.labels, recipe.validation.every
    drawn = max(2, round(recipe.validation.classes * classes))
    return (
        f"validation: up to {drawn:,} of {classes:,} training classes are held out; {len(labels):,} pictures of "
        f"{len(np.unique(labels)):,} of them are measured every {every:,} steps"
    )


class Validation:
    """Measures the dense encoder and the smallest trained capacity every so often, and keeps the best state.

    The best has the highest mean of the dense mAP and the smallest capacity's. Only states whose subnetworks have begun
    to learn are compared; of a recipe without subnetworks all are, by the dense mAP. What trains is read, not touched:
    copies get statistics of their own, and no random number of the run is used.

    Args:
        recipe: In steps; with `validation`.
        source: What it trains on, for the statistics of the copies.
        held: Pictures of other classes.
        folder: Of the run.
        run: Whose best state the folder may hold.
        resume: Go on from that state's figure.

    Raises:
        TrainingError: The best state in the folder is damaged or another run's.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: TrainingSource,
        held: RetrievalSet,
        folder: Path,
        run: RunIdentity,
        resume: bool,
    ) -> None:
        assert recipe.validation is not None
        self._recipe, self._every, self._held, self._folder, self._run = (
            recipe, recipe.validation.every, held, folder, run,
        )  # fmt: skip
        self._source, self._calibration = source, np.empty(0, np.uint8)
        self._retrieval = LeaveOneOut(held.labels)
        self.best: Best | None = known_best(folder, run) if resume else None

    def is_due(self, step: int) -> bool:
        """Tell whether the state after `step` steps is to be measured."""
        return step % self._every == 0 or step == self._recipe.schedule.total

    def measure(self, step: int, joint: JointStep) -> dict[str, Figures]:
        """Measure the state after `step` steps, and keep it if it is the best so far.

        Returns:
            "dense", and the smallest trained capacity once subnetworks learn -> figures.
        """
        device = next(joint.prunable.encoder.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            found = self._measured(step, joint, device)
        figure = round(sum(each.map for each in found.values()) / len(found), 4)
        comparable = len(found) > 1 or not self._recipe.method.capacities
        if comparable and (self.best is None or figure > self.best.figure):
            self.best = Best(step, figure)
            save_best(self._folder, self._run, self.best, joint)
        return found

    def _measured(self, step: int, joint: JointStep, device: torch.device) -> dict[str, Figures]:
        recipe = self._recipe
        if not len(self._calibration):
            self._calibration = self._source.calibration(CALIBRATION_IMAGES)
        gallery = self._embedded(joint.prunable.at(1.0).extract(), device)
        found = {"dense": self._figures(gallery, gallery)}
        if capacities_of_step(recipe.method, recipe.schedule, recipe.seed, step - 1):
            smallest = recipe.method.capacities[0]
            queries = self._embedded(joint.prunable.at(smallest).extract(), device)
            found[f"{smallest:g}"] = self._figures(queries, gallery)
        return found

    def _figures(self, queries: Floats, gallery: Floats) -> Figures:
        measured = self._retrieval.measure(queries, gallery)
        return Figures(measured.map, measured.recall_at_1)

    def _embedded(self, module: Encoder, device: torch.device) -> Floats:
        module = module.to(device)
        reestimate(module, torch.from_numpy(self._calibration).to(device), _BATCH)
        return np.concatenate([_embed(module, part, device) for part in _parts(self._held.images)])


def described(found: Mapping[str, Figures]) -> str:
    """Return figures in a few words, for the line of progress."""
    return "  ".join(f"{name} mAP {each.map:.1f} R@1 {each.recall_at_1:.1f}" for name, each in found.items())


def _parts(images: Pixels) -> list[Pixels]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _embed(module: Encoder, images: Pixels, device: torch.device) -> Floats:
    pixels = as_batch(torch.from_numpy(images).to(device))
    embedded: Floats = module(pixels).cpu().numpy()
    return embedded
