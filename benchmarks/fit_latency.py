"""Fit the shipped latency coefficients to published measurements; write them to `device_profiles/latency`.

    python -m benchmarks.fit_latency

The measurements are in `benchmarks/latency_rows.csv`, a row for each published latency; its column `source` is a key of
`device_profiles/sources.yaml`, which says where. Another table needs the columns `COLUMNS`.

The model is `prunnet.cost.latency`: t0 + sum over ops of (max(MACs / rate of the kind, bytes / bandwidth) +
overhead). The nets are rebuilt and traced on the meta device. Seven coefficients are fitted in logarithms
with a robust loss on log(fitted / measured); a weak prior holds what the rows do not determine. `--check`
writes nothing and fails if a file differs from a fresh fit.
"""

from __future__ import annotations

import argparse
import csv
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from scipy.optimize import least_squares

from benchmarks.latency_sources import FITS, NETS, Fit
from prunnet.cost import CostGraph, trace
from prunnet.cost.width import WIDTHS
from prunnet.torch_fixes import torchvision as _torchvision

FOLDER = Path("device_profiles/latency")
MEASUREMENTS = Path(__file__).with_name("latency_rows.csv")
COLUMNS = sorted(
    {"model", "input_resolution", "latency_ms", "device", "profile_match", "source"}
    | {column for fit in FITS for choice in fit.rows for column in choice.where}
)
KINDS = ("conv", "pointwise", "depthwise", "matmul")
PRIOR_STRENGTH = 0.1
PRIOR = {
    "t0": 0.3,
    "per_op": 0.01,
    "conv": 50.0,
    "pointwise": 40.0,
    "depthwise": 15.0,
    "matmul": 40.0,
    "bandwidth": 15.0,
}
"""Milliseconds, milliseconds, GMAC/s four times, GB/s: a mobile CPU's order of magnitude."""


def read_measurements(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table of published latencies; ends the program if that is not what the file is."""
    if not path.is_file():
        sys.exit(
            f"{path}: no such file. It is to be a table of published latencies, CSV with the columns "
            f"{', '.join(COLUMNS)}; the shipped fits are made from {MEASUREMENTS}"
        )
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            sys.exit(f"{path}: the columns {', '.join(missing)} are missing")
        return list(reader)


@cache
def graph_of(model: str, side: int) -> CostGraph:
    with torch.device("meta"):
        net = NETS[model]().eval()
    return trace(net, (3, side, side))


def chosen(fit: Fit, table: list[dict[str, str]]) -> list[tuple[dict[str, str], float]]:
    rows = []
    for choice in fit.rows:
        for row in table:
            known = row["model"] in NETS and row["input_resolution"].split("x")[0].isdigit()
            if known and all(row[key] == value for key, value in choice.where.items()):
                rows.append((row, choice.weight))
    return rows


class Design:
    """The rows' nets as arrays: what each op computes and moves."""

    def __init__(self, rows: list[tuple[dict[str, str], float]], precision: str, factor: float) -> None:
        width = WIDTHS[precision]
        self.graphs = [graph_of(row["model"], int(row["input_resolution"].split("x")[0])) for row, _ in rows]
        self.measured = np.array([float(row["latency_ms"]) for row, _ in rows]) * factor
        self.weights = np.array([weight for _, weight in rows])
        self.macs = [np.array([op.macs for op in graph.ops]) / 1e6 for graph in self.graphs]
        index = {kind: number for number, kind in enumerate(KINDS)}
        self.kind = [np.array([index.get(op.kind, 0) for op in graph.ops]) for graph in self.graphs]
        self.traffic = [np.array([width.of_traffic(op) for op in graph.ops]) / 1e6 for graph in self.graphs]

    def predict(self, logs: np.ndarray) -> np.ndarray:
        t0, per_op, *rates, bandwidth = np.exp(logs)
        rate = np.array(rates)
        return np.array(
            [
                t0 + (np.maximum(macs / rate[kind], traffic / bandwidth) + per_op).sum()
                for macs, kind, traffic in zip(self.macs, self.kind, self.traffic, strict=True)
            ]
        )

    def fit(self, prior: np.ndarray) -> np.ndarray:

        def residuals(logs: np.ndarray) -> np.ndarray:
            errors = np.sqrt(self.weights) * np.log(self.predict(logs) / self.measured)
            return np.concatenate([errors, PRIOR_STRENGTH * (logs - prior)])

        starts = [prior + shift for shift in (-2.0, 0.0, 2.0)]
        solutions = [least_squares(residuals, start, loss="soft_l1", f_scale=0.2) for start in starts]
        return min(solutions, key=lambda solution: solution.cost).x


def inline(*items: Any, **more: Any) -> CommentedMap:
    """Return a mapping that is written on one line."""
    mapping = CommentedMap(*items, **more)
    mapping.fa.set_flow_style()
    return mapping


def prior_of(fit: Fit, table: list[dict[str, str]]) -> np.ndarray:
    """Return the logarithms that the rows are to move: a mobile CPU's, or those of the same core's other fit."""
    if not fit.core:
        return np.log(list(PRIOR.values()))
    return coefficients(next(each for each in FITS if each.name == fit.core), table)


def coefficients(fit: Fit, table: list[dict[str, str]]) -> np.ndarray:
    """Return the logarithms of a fit's coefficients."""
    return Design(chosen(fit, table), fit.precision, fit.factor).fit(prior_of(fit, table))


def section(fit: Fit, table: list[dict[str, str]]) -> dict[str, Any]:
    rows = chosen(fit, table)
    design = Design(rows, fit.precision, fit.factor)
    logs = np.array([float(f"{value:.4g}") for value in np.exp(coefficients(fit, table))])
    fitted = design.predict(np.log(logs))
    errors = np.abs(fitted / design.measured - 1)
    t0, per_op, *rates, bandwidth = (float(value) for value in logs)
    return {
        "runs_on": fit.runs_on,
        "precision": fit.precision,
        "calibrated": bool(fit.soc),
        **({"soc": fit.soc} if fit.soc else {}),
        "source": fit.source,
        "t0_ms": t0,
        "per_op_ms": per_op,
        "gmacs_per_s": inline(zip(KINDS, rates, strict=True)),
        "bandwidth_gb_per_s": bandwidth,
        "scaled_by": fit.factor,
        "median_error": round(float(np.median(errors)), 3),
        "worst_error": round(float(errors.max()), 3),
        "rows": [
            inline(
                model=f"{row['model']} {row['input_resolution']}",
                macs_g=round(graph.macs / 1e9, 4),
                measured_ms=float(row["latency_ms"]),
                fitted_ms=round(float(value / fit.factor), 3),
                device=row["device"].split(" (")[0],
                match=row["profile_match"],
                source=row["source"],
            )
            for (row, _), graph, value in zip(rows, design.graphs, fitted, strict=True)
        ],
    }


def plain(value: Any) -> Any:
    """Return nested mappings and lists without their YAML decoration."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measurements", type=Path, nargs="?", default=MEASUREMENTS, help="another table")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    _torchvision.ensure()
    table = read_measurements(arguments.measurements)
    yaml = YAML()
    yaml.width = 250
    yaml.representer.ignore_aliases = lambda _: True
    stale = []
    for fit in FITS:
        path, entry = FOLDER / f"{fit.name}.yaml", section(fit, table)
        print(
            f"{fit.name:24} {len(entry['rows']):3} rows, error median {entry['median_error']:.1%} worst "
            f"{entry['worst_error']:.1%}; t0 {entry['t0_ms']} op {entry['per_op_ms']} GB/s "
            f"{entry['bandwidth_gb_per_s']} {dict(entry['gmacs_per_s'])}"
        )
        if not arguments.check:
            with path.open("w", encoding="utf-8") as text:
                yaml.dump(entry, text)
        elif plain(yaml.load(path.read_text(encoding="utf-8"))) != plain(entry):
            stale.append(fit.name)
    if stale:
        sys.exit(f"not what a fresh fit gives: {', '.join(stale)}; run without --check")


if __name__ == "__main__":
    main()
