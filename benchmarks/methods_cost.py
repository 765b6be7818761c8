"""What training by each method of methods.yaml costs, in that of the dense encoder alone, side by side in one process.

    python -m benchmarks.methods_cost [--rounds 9] [--recipe glyphs]

Times are medians of rounds in which the methods take turns; leave the machine alone meanwhile. Writes
benchmarks/results/methods_cost.json, which docs/research/results.md shows. With a recipe on glyphs it prints instead
what a step of each of its rounds takes, and all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from benchmarks.methods import COST, planned
from benchmarks.step_cost import machine
from prunnet.data import TrainingSource, open_data
from prunnet.train.build import Start, build
from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.recipe import Recipe, load_recipe
from prunnet.train.step.optimizer import new_optimizer

ALONE = "magnitude"


@dataclass
class Part:
    """One kind of step of a method.

    Attributes:
        steps: How often a run takes it.
        take: Takes it once, given its number.
        subnetworks: Whether it trains any.
        seconds: What it took.
    """

    steps: int
    take: Callable[[int], None]
    subnetworks: bool
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def parts_of(recipe: Recipe, source: TrainingSource) -> list[Part]:
    method, schedule = recipe.method, recipe.schedule
    if method.networks != "one":
        alone = recipe.dense_alone()
        return [
            _part(alone, source, alone.schedule.total, 0, Start(c), c < 1) for c in (*method.capacities, 1.0)
        ]
    first = schedule.first_round
    parts = [_part(recipe, source, first, 0, Start(), bool(capacities_of_step(method, schedule, 0, 0)))]
    if schedule.follow:
        parts.append(_part(recipe, source, schedule.follow.steps, first, Start(), True))
    return parts


def _part(
    recipe: Recipe, source: TrainingSource, steps: int, first: int, start: Start, subnetworks: bool
) -> Part:
    joint = build(recipe, source.classes, torch.device("cpu"), start)
    optimizer = new_optimizer(joint, recipe.schedule)
    joint.prunable.train()

    def take(number: int) -> None:
        pixels, labels = source.batch(0, first + number, recipe.schedule.batch_size)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        capacities = capacities_of_step(recipe.method, recipe.schedule, 0, first + number)
        if first:
            joint.follow(pixels, capacities)
        else:
            joint(pixels, labels, capacities)
        nn.utils.clip_grad_norm_(joint.parameters, recipe.schedule.clip)
        optimizer.step()

    return Part(steps, take, subnetworks)


def _time(parts: list[Part], rounds: int) -> None:
    """Let the parts take turns."""
    for number in range(rounds + 1):
        for part in parts:
            began = time.perf_counter()
            part.take(number)
            if number:  # the first one builds kernels and skeletons
                part.seconds.append(time.perf_counter() - began)


def measure(recipes: dict[str, Recipe], source: TrainingSource, rounds: int) -> dict[str, dict[str, float]]:
    """Return, by method, what a step that trains subnetworks costs, and the whole training.

    Args:
        recipes: By method; `magnitude` trains the dense encoder alone.
        source: Training images.
        rounds: Measured steps of each part.
    """
    parts = {method: parts_of(recipe, source) for method, recipe in recipes.items()}
    _time([part for found in parts.values() for part in found], rounds)
    (alone,) = parts[ALONE]
    result = {}
    for method, found in parts.items():
        training = sum(part.steps * part.median for part in found) / (alone.steps * alone.median)
        result[method] = {"training": round(training, 2)}
        if own := [part.median for part in found if part.subnetworks]:
            result[method]["step"] = round(sum(own) / alone.median, 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="measured steps of each kind")
    parser.add_argument("--recipe", help="a shipped recipe on glyphs, or its YAML file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    if options.recipe:
        recipe = load_recipe(options.recipe)
        parts = parts_of(recipe, open_data("glyphs", None, recipe.encoder.image_size).train)
        _time(parts, options.rounds)
        for part in parts:
            print(f"{part.steps} steps of {part.median:.3f} s: {part.steps * part.median / 3600:.2f} h")
        return
    recipes = {run.method: run.recipe for run in planned([0])}
    source = open_data("glyphs", None, recipes[ALONE].encoder.image_size).train
    report = {"machine": machine(), "methods": measure(recipes, source, options.rounds)}
    COST.write_text(json.dumps(report, indent=1) + "\n")
    print(COST.read_text(), end="")


if __name__ == "__main__":
    main()
