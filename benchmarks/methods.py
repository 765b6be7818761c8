"""Train every method on one small network by one schedule, and measure them side by side.

    python -m benchmarks.methods [--only METHOD ...] [--seeds 0 1 2] [--out runs/methods]
    python -m benchmarks.methods --plan mine.yaml --results runs/trials --only prunnet --seeds 0

Run by run; continues where it stopped. A finished run has a file in benchmarks/results/methods, an unfinished one its
checkpoint in --out. `python -m benchmarks.methods_page` writes docs/research/results.md from the files. The second line
is a trial: a copy of benchmarks/methods.yaml with other options, and results of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from prunnet.data import DataSet, open_data
from prunnet.encoder.batchnorm import reestimate
from prunnet.evaluate.family import CutFamily, Family, SeparateFamily
from prunnet.evaluate.matrix import measure_rows
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.checkpoint.checkpoint import holds_run
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.separate import train_separately
from prunnet.train.training import train
from prunnet.yaml.document import read_document
from runtime_py.disk.files import write_atomically

PLAN = Path(__file__).with_name("methods.yaml")
RESULTS = Path(__file__).parent / "results" / "methods"
COST = RESULTS.parent / "methods_cost.json"
CALIBRATION_IMAGES = 256
SEEDS = [0, 1, 2]
CONTROL = "control"


@dataclass(frozen=True)
class Run:
    """One method with one seed."""

    method: str
    recipe: Recipe
    measured: tuple[float, ...]


def planned(seeds: list[int], file: Path = PLAN) -> list[Run]:
    """Return the runs of a plan, all methods of one seed before the next seed.

    Methods that train their subnetworks after the dense encoder say for how many steps, and have a control: the dense
    encoder trained alone for as many steps as both rounds of the longest. A seed that the plan replaces for a method,
    because it learned nothing, is not run again.
    """
    plan = read_document(file).values
    runs: list[Run] = []
    for seed in seeds:
        longest: Recipe | None = None
        for name, planned_options in plan["methods"].items():
            options = dict(planned_options)
            schedule = {**plan["base"]["schedule"], **options.pop("schedule", {})}
            follow_steps = options.pop("follow_steps", None)
            if follow_steps:
                schedule["follow"] = {**plan["follow"], "steps": follow_steps}
            own_seed = plan["instead"].get(f"{name}-{seed}", seed)
            method = MethodSpec.model_validate(
                {"name": name, **({} if name == "magnitude" else {"capacities": plan["trained"]}), **options}
            )
            recipe = Recipe.model_validate(
                {
                    **plan["base"],
                    "name": f"{name}-{own_seed}",
                    "seed": own_seed,
                    "method": method,
                    "schedule": schedule,
                }
            )
            measured = plan["trained"] if name in ("independent", "bct") else plan["measured"]
            if all(run.recipe.name != recipe.name for run in runs):
                runs.append(Run(name, recipe, tuple(measured)))
            if follow_steps and (longest is None or recipe.schedule.total > longest.schedule.total):
                longest = recipe
        if longest is not None:
            alone = longest.dense_alone().model_copy(update={"name": f"{CONTROL}-{seed}"})
            runs.append(Run(CONTROL, alone, ()))
    return runs


def execute(run: Run, data: DataSet, folder: Path) -> dict[str, Any]:
    """Train and measure one run."""
    rows = measure_rows(_trained_family(run, data, folder), data.test)
    return {
        "method": run.method,
        "seed": run.recipe.seed,
        "recipe": run.recipe.model_dump(mode="json"),
        "queries": len(data.test.labels),
        "rows": [asdict(row) for row in rows],
    }


def _trained_family(run: Run, data: DataSet, folder: Path) -> Family:
    calibration = data.train.calibration(CALIBRATION_IMAGES)

    def settled(prunable: PrunableEncoder) -> PrunableEncoder:
        reestimate(prunable.encoder, torch.from_numpy(calibration))
        return prunable

    if run.recipe.method.networks == "one":
        prunable = settled(train(run.recipe, data.train, folder, resume=holds_run(folder)).prunable)
        return CutFamily(prunable, calibration, run.measured)
    networks = train_separately(run.recipe, data.train, folder, resume=True)
    return SeparateFamily({capacity: settled(network) for capacity, network in networks.items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="methods; all if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/methods"), help="checkpoints of unfinished runs"
    )
    parser.add_argument("--plan", type=Path, default=PLAN, help="another plan (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures")
    options = parser.parse_args()
    runs = [
        run for run in planned(options.seeds, options.plan) if not options.only or run.method in options.only
    ]
    size = runs[0].recipe.encoder.image_size
    data = open_data("glyphs", None, size)
    options.results.mkdir(parents=True, exist_ok=True)
    for number, run in enumerate(runs, 1):
        file = options.results / f"{run.recipe.name}.json"
        before = ": done before" if file.exists() else ""
        print(f"[{number}/{len(runs)}] {run.recipe.name}{before}", flush=True)
        if not before:
            folder = options.out / run.recipe.name
            figures = execute(run, data, folder)
            write_atomically(file, (json.dumps(figures, indent=1) + "\n").encode())
            shutil.rmtree(folder)
        print(_summary(json.loads(file.read_text())["rows"]), flush=True)


def _summary(rows: list[dict[str, Any]]) -> str:
    """Return a line for each capacity: what was reached, what it costs and how far below dense it retrieves."""
    return "\n".join(
        f"  capacity {row['capacity']:<4g} reached {row['achieved']:.2f}  {row['macs'] / 1e6:5.1f} MMACs  "
        f"mAP {row['cross_map']:5.1f}, {row['below_dense']['mean']:5.2f} below dense"
        for row in rows
    )


if __name__ == "__main__":
    main()
