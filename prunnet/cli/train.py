"""`prunnet-train`: the command over `train_package`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime_py.shell import note, run_command, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_parser(), _run, arguments, extra="train", stopped="continue with --resume")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-train",
        description="Train a prunable encoder and write its package to OUT/encoder.",
        epilog="exit codes: 0 ok, 1 bug, 2 usage, recipe, data or training error",
    )
    parser.add_argument("--recipe", required=True, help="name of a shipped recipe, or a YAML file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoint, log, encoder")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="where the recipe's pictures are: the folder, or a benchmark's unpacked archive "
        "(docs/reference/datasets.md)",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in OUT")
    parser.add_argument(
        "--control", action="store_true", help="also train it dense alone, to measure the tax"
    )
    parser.add_argument(
        "--dense",
        metavar="ENCODER",
        help="keep the dense encoder of this package, and so the index of your server; train subnetworks for it",
    )
    parser.add_argument("--json", action="store_true", help="print the measured curve as JSON")
    return parser


def _run(options: argparse.Namespace) -> int:
    from prunnet.train.threads import let_threads_sleep

    let_threads_sleep()  # before anything imports torch
    from prunnet.train.recipe.recipe import load_recipe

    recipe = load_recipe(options.recipe)
    if options.data is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.at(options.data)})
    from prunnet.cli.table import curve_as_json
    from prunnet.package.load import load_encoder
    from prunnet.train.run import train_package
    from prunnet.train.watch.memory import keep_freed_memory

    keep_freed_memory()
    package = train_package(
        recipe,
        options.out,
        resume=options.resume,
        control=options.control,
        dense=None if options.dense is None else load_encoder(options.dense),
        say=note,
    )
    if package is None:
        return 0
    metrics = package.metadata.metrics
    show(curve_as_json(metrics) if options.json else _table(metrics))
    note(f"wrote {package.path}")
    return 0


def _table(metrics: dict[str, Any]) -> str:
    from prunnet.cli.table import curve_table
    from prunnet.evaluate.official import TaskCurve, TaskPoint

    if "official" not in metrics:
        return curve_table(metrics["curve"], metrics.get("control"))
    official = metrics["official"]
    points = tuple(TaskPoint(**point) for point in official["points"])
    lines = [TaskCurve(**(official | {"points": points})).table()]
    if "control" in metrics:
        lines.append("trained dense alone for as many steps, and the tax:")
        tax = metrics["control"]["tax"]
        lines += [
            f"  {name:16} {100 * value:6.2f}  {tax[name]:+6.2f}"
            for name, value in metrics["control"]["figures"].items()
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
