"""`prunnet-eval`: the command over `measure_curve`, `measure_matrix` and `measure_task`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.shell import note, run_command, show

if TYPE_CHECKING:
    from prunnet.data.source import RetrievalSet
    from prunnet.package.metadata import EncoderMetadata
    from prunnet.package.package import EncoderPackage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_parser(), _run, arguments, extra="train")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prunnet-eval",
        description="Measure how the subnetworks of an encoder retrieve from its dense gallery.",
        epilog="exit codes: 0 ok, 1 bug, 2 usage, encoder or data error",
    )
    parser.add_argument("encoder", help="folder of an encoder package, or a built-in name (glyphs)")
    parser.add_argument(
        "--dataset",
        help="glyphs, a folder with test/CLASS/*, or NAME=ROOT of an official benchmark, e.g. cub200=/data/CUB "
        "(docs/reference/datasets.md); glyphs if the encoder was trained on them",
    )
    parser.add_argument(
        "--capacity", type=float, action="append", help="in (0, 1]; several times for several"
    )
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="every capacity against every other: compatibility, negative flips, a mixed gallery "
        "(docs/guide/evaluate.md)",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="with --matrix: draw it; also .svg and .pdf"
    )
    parser.add_argument(
        "--index",
        help="with an official benchmark: search its gallery through FAISS, e.g. HNSW32 or IVF1024,Flat:nprobe=16; "
        "approximate unless Flat, and without the figures that need the whole ranking",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _run(options: argparse.Namespace) -> int:
    from prunnet.data import open_test_pictures
    from prunnet.errors import DatasetError
    from prunnet.evaluate.curve import reachable
    from prunnet.package.load import load_encoder

    _check(options)
    package = load_encoder(options.encoder)
    capacities = options.capacity or reachable(package.prunable)
    trained_on = _trained_on(package.metadata)
    if options.dataset is None and trained_on != "glyphs":
        label = package.metadata.metrics.get("data") or trained_on
        raise DatasetError(
            f"{options.encoder} was trained on {label!r}: say what to retrieve, "
            "--dataset FOLDER (with test/CLASS/*)"
        )
    dataset = options.dataset or "glyphs"
    if "=" in dataset:
        return _task(package, dataset, capacities, options)
    pictures = open_test_pictures(dataset, package.preprocessing)
    for line in pictures.notes:
        note(line)
    if options.matrix:
        return _matrix(package, pictures, capacities, options)
    return _curve(package, pictures, capacities, options)


def _trained_on(metadata: EncoderMetadata) -> Any:
    """Return the recipe's name of the data, which is "folder" for any folder; the metrics have the folder's own.

    A package without a recipe is known by its metrics; one that says nothing is taken as trained on glyphs.
    """
    data = metadata.recipe.get("data")
    return data.get("name") if isinstance(data, dict) else metadata.metrics.get("data", "glyphs")


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, and a plot that has nowhere to go, before anything is measured."""
    from prunnet.errors import EvaluationError

    official = "=" in (options.dataset or "")
    if options.matrix and official:
        raise EvaluationError(
            "--matrix measures glyphs or a folder of pictures; an official benchmark gives cross- and self-test"
        )
    if options.index is not None and not official:
        raise EvaluationError("--index searches the gallery of an official benchmark: --dataset NAME=ROOT")
    if options.plot is not None:
        if not options.matrix:
            raise EvaluationError("--plot draws the matrix: add --matrix")
        from prunnet.evaluate.matrix.plot import check_writable

        check_writable(options.plot)


def _curve(
    package: EncoderPackage, pictures: RetrievalSet, capacities: Sequence[float], options: argparse.Namespace
) -> int:
    from prunnet.cli.table import curve_as_json, curve_table
    from prunnet.evaluate.curve import measure_curve

    curve = measure_curve(package.prunable, package.probes.calibration, pictures, capacities, say=note)
    show(curve_as_json(curve.as_dict()) if options.json else curve_table(curve.as_dict()))
    return 0


def _matrix(
    package: EncoderPackage, pictures: RetrievalSet, capacities: Sequence[float], options: argparse.Namespace
) -> int:
    from prunnet.evaluate.family import CutFamily
    from prunnet.evaluate.matrix import measure_matrix
    from prunnet.evaluate.matrix.plot import save_plot

    family = CutFamily(package.prunable, package.probes.calibration, capacities)
    matrix = measure_matrix(family, pictures, say=note)
    show(json.dumps(matrix.as_dict(), indent=1) if options.json else matrix.table())
    if options.plot is not None:
        save_plot(matrix, options.plot)
        note(f"wrote {options.plot}")
    return 0


def _task(
    package: EncoderPackage, dataset: str, capacities: Sequence[float], options: argparse.Namespace
) -> int:
    from prunnet.data.official import open_task
    from prunnet.evaluate.official import measure_task

    name, _, root = dataset.partition("=")
    task = open_task(name, Path(root))
    curve = measure_task(package, task, capacities, index=options.index, say=note)
    show(json.dumps(curve.as_dict(), indent=1) if options.json else curve.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
