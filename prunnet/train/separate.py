"""Baselines that train one network for each capacity: independent widths, and BCT."""

from __future__ import annotations

from pathlib import Path

from prunnet.data.source import TrainingSource
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.build import Start
from prunnet.train.checkpoint.checkpoint import holds_run
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.training import train


def train_separately(
    recipe: Recipe, source: TrainingSource, out: Path, *, resume: bool = False, quiet: bool = False
) -> dict[float, PrunableEncoder]:
    """Train the dense encoder, and for each capacity a narrower network from weights of its own.

    Each is trained as long as the recipe says. With `networks: dense-classifier` the narrower ones learn through the
    classifier of the dense one, which is frozen, so that their embeddings share its space.

    Args:
        recipe: The run; its method's `networks` is not "one".
        source: Training images.
        out: Folder of the run; one folder below it for each network.
        resume: Continue from the checkpoints of those folders that have one.
        quiet: No progress bar.

    Returns:
        Capacity, ascending to 1.0 -> the trained network; BatchNorm statistics still the running ones.

    Raises:
        TrainingError: See `prunnet.train.training.train`.
    """
    folder = out / "dense"
    dense = train(_alone(recipe, 1.0), source, folder, resume=resume and holds_run(folder), quiet=quiet)
    shared = dense.classifier if recipe.method.networks == "dense-classifier" else None
    networks = {}
    for capacity in recipe.method.capacities:
        folder = out / f"{capacity:g}"
        networks[capacity] = train(
            _alone(recipe, capacity),
            source,
            folder,
            start=Start(capacity, shared),
            resume=resume and holds_run(folder),
            quiet=quiet,
        ).prunable
    return networks | {1.0: dense.prunable}


def _alone(recipe: Recipe, capacity: float) -> Recipe:
    """Return the recipe of one network. Its seed is its own: equal ones would start at equal weights."""
    update = {"name": f"{recipe.name}-{capacity:g}", "seed": 1000 * recipe.seed + round(100 * capacity)}
    return recipe.dense_alone().model_copy(update=update)
