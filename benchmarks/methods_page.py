"""Write docs/research/results.md and its plot from the runs in benchmarks/results/methods.

python -m benchmarks.methods_page
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.methods import CONTROL, COST, PLAN, RESULTS, SEEDS, planned
from prunnet.comparison import compare
from prunnet.profile.document import read_document

PAGE = Path("docs/research/results.md")
STRIDED = Path(__file__).parent / "results" / "strided_layers.json"
PLOT = Path("docs/research/results.png")
ABOUT = {
    "independent": "each capacity a network of its own: the control",
    "magnitude": "dense alone, channels ranked by magnitude afterwards",
    "bct": "each capacity a network of its own, through the frozen dense classifier",
    "joint": "channel groups, plain sum of the losses",
    "switchnet": "first channels, own BatchNorm for each trained width",
    "sfsc": "SwitchNet with gradient projection and uncertainty weights",
    "prunnet-weight": "the paper: masks",
    "prunnet-masks": "`prunnet` with masks instead of channels",
    "prunnet-light": "`prunnet` with fewer channels inside the first blocks too, for MACs",
    "prunnet-channel": "the paper's method on channel groups",
    "prunnet": "subnetworks follow the finished dense encoder",
    CONTROL: "dense alone for as many steps as both rounds of `prunnet`",
}
COSTS = ("step", "training")
Runs = dict[str, list[dict[str, Any]]]
Figure = TypeVar("Figure")


def load() -> Runs:
    """Return the finished runs by method, in the plan's order."""
    found: Runs = defaultdict(list)
    for file in sorted(RESULTS.glob("*.json")):
        run = json.loads(file.read_text())
        found[run["method"]].append(run)
    order = [*read_document(PLAN).values["methods"], CONTROL]
    return {method: found[method] for method in order if method in found}


def spread(values: Sequence[float]) -> str:
    """Return mean and, of several, standard deviation."""
    mean = statistics.fmean(values)
    return f"{mean:z.1f}" if len(values) == 1 else f"{mean:z.1f} ± {statistics.stdev(values):.1f}"


def at(run: dict[str, Any], capacity: float) -> dict[str, Any] | None:
    return next((row for row in run["rows"] if row["capacity"] == capacity), None)


def dense_map(run: dict[str, Any]) -> float:
    return float(run["rows"][-1]["cross_map"])


def by_capacity(
    runs: Runs,
    capacities: Sequence[float],
    figure: Callable[[dict[str, Any]], Figure],
    show: Callable[[Sequence[Figure]], str] = spread,
) -> list[str]:
    """Return a table: methods down, capacities across."""
    lines = [f"| method | {' | '.join(f'{c:g}' for c in capacities)} |", "|---" * (len(capacities) + 1) + "|"]
    for method, done in runs.items():
        cells = []
        for capacity in capacities:
            rows = [row for run in done if (row := at(run, capacity))]
            cells.append(show([figure(row) for row in rows]) if rows else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def intervals(runs: Runs, capacities: Sequence[float], figure: str) -> list[str]:
    """Return a table of a figure's bootstrap intervals: the lowest and the highest bound of any seed."""

    def around(bounds: Sequence[tuple[float, float]]) -> str:
        return f"{min(low for low, _ in bounds):z.1f} to {max(high for _, high in bounds):z.1f}"

    return by_capacity(runs, capacities, lambda row: (row[figure]["low"], row[figure]["high"]), around)


def equal_size(runs: Runs, axis: str, shares: Sequence[float]) -> list[str]:
    """Return cross-test mAP at equal shares of the dense network's size, which is one of a row's keys.

    The lines go through all measured points, or through those of the listed capacities where a method trains no others.
    """
    lines = [f"| method | {' | '.join(f'{s:.0%}' for s in shares)} |", "|---" * (len(shares) + 1) + "|"]
    for method, done in runs.items():
        columns: list[list[float]] = [[] for _ in shares]
        for run in done:
            rows = _trained_rows(run)
            sizes = [share * rows[-1][axis] for share in shares]
            for column, reading in zip(
                columns, compare({method: rows}, axis, sizes).readings[method], strict=True
            ):
                if reading.value is not None:
                    column.append(reading.value)
        cells = [spread(column) if len(column) == len(done) else "" for column in columns]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def _trained_rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all rows of a run that draws its capacities or trains none, else those of the listed ones and dense."""
    method, rows = run["recipe"]["method"], run["rows"]
    if not method["capacities"] or method["draw"] == "sandwich":
        return rows
    return [row for row in rows if row["capacity"] in (*method["capacities"], 1.0)]


def overview(runs: Runs) -> list[str]:
    lines = [
        "| method | what it is | dense mAP | tax | tax, as many steps in all | a step | training |",
        "|---" * 7 + "|",
    ]
    cost = json.loads(COST.read_text())["methods"] if COST.exists() else {}
    plain = {run["seed"]: run for run in runs.get("magnitude", ())}
    longer = {run["seed"]: run for run in runs.get(CONTROL, ())}
    for method, done in runs.items():
        cells = [spread([dense_map(run) for run in done])]
        after = bool(done[0]["recipe"]["schedule"]["follow"])
        for alone in (plain, longer if after else plain):
            taxes = [dense_map(alone[run["seed"]]) - dense_map(run) for run in done if run["seed"] in alone]
            cells.append(spread(taxes) if taxes and method != CONTROL else "")
        cells += [f"{cost[method][what]:.1f}" if what in cost.get(method, ()) else "" for what in COSTS]
        lines.append(f"| {method} | {ABOUT[method]} | {' | '.join(cells)} |")
    return lines


def gradients_were_right() -> str:
    """Say what oneDNN's fault (`prunnet.convolution`) did to these runs."""
    found = json.loads(STRIDED.read_text())
    worst = max(each["difference"] for each in found["runs"])
    right = all(each["right"] for each in found["runs"])
    return (
        "oneDNN damages memory in the backward pass of a pointwise convolution with a stride and few channels, and can "
        "give wrong gradients there (`prunnet/convolution.py`). "
        f"The networks of these runs and of the built-in encoder have {found['layers']} different ones at the "
        f"capacities that training draws, and the narrowest reads {found['narrowest']} channels. Without the guard, "
        "by torch's own kernels, with one and two threads, on AVX-512 and AVX2, their gradients differ from float64 by "
        f"{worst:.0e} of their largest value at most: the runs were "
        f"{'not trained through wrong gradients' if right else 'TRAINED THROUGH WRONG GRADIENTS'} "
        "(`python -m benchmarks.strided_layers`)."
    )


def without_control(runs: Runs) -> Runs:
    return {method: done for method, done in runs.items() if method != CONTROL}


def unseen(runs: Runs, trained: Sequence[float], measured: Sequence[float]) -> list[str]:
    """Return how far capacities that were not trained lie above the line through those that were."""
    others = [c for c in measured if c not in trained]
    lines = [f"| method | {' | '.join(f'{c:g}' for c in others)} |", "|---" * (len(others) + 1) + "|"]
    for method, done in runs.items():
        cells = []
        for capacity in others:
            gaps = []
            for run in done:
                row = at(run, capacity)
                if row:
                    known = [at(run, c) for c in (*trained, 1.0)]
                    line = np.interp(
                        row["achieved"],
                        [k["achieved"] for k in known if k],
                        [k["cross_map"] for k in known if k],
                    )
                    gaps.append(row["cross_map"] - float(line))
            cells.append(spread(gaps) if gaps else "")
        if any(cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def draw(runs: Runs) -> None:
    """Plot cross-test mAP by capacity and by MACs."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), dpi=110, sharey=True)
    for method, done in runs.items():
        if method in ("independent", CONTROL):
            continue  # near zero in the cross-test, which would flatten everything else; and no subnetworks at all
        rows = done[0]["rows"]
        heights = np.mean([[row["cross_map"] for row in run["rows"]] for run in done], axis=0)
        marker = "s--" if method == "bct" else "o-"
        axes[0].plot([row["achieved"] for row in rows], heights, marker, label=method, markersize=3)
        axes[1].plot([row["macs"] / 1e6 for row in rows], heights, marker, markersize=3)
    axes[0].set(xlabel="capacity", ylabel="cross-test mAP")
    axes[1].set(xlabel="MMACs of one query")
    axes[0].legend(fontsize=7)
    for each in axes:
        each.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(PLOT)


def page(runs: Runs) -> Iterable[str]:
    plan = read_document(PLAN).values
    trained, measured = plan["trained"], [*plan["measured"], 1.0]
    base = plan["base"]
    first = next(iter(runs.values()))[0]
    dense = first["rows"][-1]
    seeds = {method: [run["seed"] for run in done] for method, done in runs.items()}
    families = without_control(runs)
    follow, methods = plan["follow"], plan["methods"]
    yield from (
        "# Methods side by side",
        "",
        "Every method trains the same network on glyphs by the same schedule, and is measured on the same "
        f"{first['queries']:,} pictures of characters that none has seen. The recipes are in "
        "`benchmarks/methods.yaml`; `python -m benchmarks.methods` trains and measures them run by run and continues "
        "where it stopped; `python -m benchmarks.methods_page` writes this page. Nothing here is typed in.",
        "",
        f"Network: {base['encoder']['backbone']} {base['encoder']['options']}, {base['encoder']['image_size'][0]} px, "
        f"{dense['macs'] / 1e6:.1f} MMACs, {dense['parameters'] / 1e6:.2f} M parameters. "
        f"{base['schedule']['steps']:,} steps of {base['schedule']['batch_size']} images. "
        f"Trained capacities {', '.join(map(str, trained))} and 1; `prunnet`, `prunnet-light` and `prunnet-masks` draw "
        f"any between, for {methods['prunnet']['follow_steps']:,} more steps (masks "
        f"{methods['prunnet-masks']['follow_steps']:,}) that leave the dense encoder as it is, "
        f"{follow['turned']:.0%} of the pictures turned or mirrored. `prunnet` cuts "
        f"narrow channel groups later (`spare_narrow: {methods['prunnet']['spare_narrow']}`), the last residual stream "
        "too and the insides of the last blocks sooner (`keep_factors`), in multiples of "
        f"{methods['prunnet']['channel_multiple']} channels; `prunnet-light` the insides of the first blocks sooner as "
        "well, which saves MACs, not parameters; `prunnet-masks` small layers later (`spare_narrow: "
        f"{methods['prunnet-masks']['spare_narrow']}`). All this was chosen by runs of seed 0, measured on the same "
        "queries ([method](method.md)). The other methods keep the same ratio everywhere, as published, in multiples "
        f"of {methods['switchnet']['channel_multiple']}. The networks of `independent` and `bct` warm up for "
        f"{methods['independent']['schedule']['warmup_steps']} steps, all others for "
        f"{base['schedule']['warmup_steps']}, with which narrow networks that learn alone can stay at chance. mAP in "
        "points, mean ± standard deviation of seeds.",
        "",
        f"{sum(map(len, runs.values()))} of {len(planned(SEEDS))} runs are measured. Seeds: "
        + "; ".join(f"{m} {', '.join(map(str, s))}" for m, s in seeds.items())
        + "."
        + "".join(
            f" {run} was given up: it was still at chance after three quarters of its steps. Seed {seed} takes its "
            "place; the tax leaves it out."
            for run, seed in plan["instead"].items()
        ),
        "",
        gradients_were_right(),
        "",
        "![cross-test mAP by capacity and by MACs](results.png)",
        "",
        "## The dense encoder",
        "Tax: dense mAP of the same network trained dense alone, minus this one's; alone for as many steps as this "
        "dense encoder learned, and for as many as the longest run had in all. A step that trains subnetworks, and the "
        "whole training, in those of the dense encoder alone, by `python -m benchmarks.methods_cost`. "
        "The scores are drawn before the classifier, and there are more of them for masks: `prunnet-weight` and "
        "`prunnet-masks` start at another classifier than the other methods of the same seed, so their tax has the "
        "spread of dense encoders in it.",
        "",
        *overview(runs),
        "",
        "## Cross-test mAP by capacity",
        "",
        *by_capacity(families, measured, lambda row: row["cross_map"]),
        "",
        "## Cross-test mAP at equal parameters",
        "Capacities in steps of the channel multiple reach different sizes; here they are the same. Share of the dense "
        "network's parameters, those that a mask makes zero left out. Straight lines between measured points, those of "
        "the listed capacities where a method trains no others: what was not trained lies below, and nobody would "
        "choose it.",
        "",
        *equal_size(
            families, "nonzero_parameters", (0.06, 0.12, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        ),
        "",
        "## Cross-test mAP at equal MACs",
        "What a device feels. Share of the dense network's MACs; straight lines as above. A mask saves no MACs, so "
        "methods with masks have figures at 100 % only.",
        "",
        *equal_size(families, "macs", (0.32, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)),
        "",
        "## MMACs of one query",
        "By the capacity asked for; the same for every seed.",
        "",
        *by_capacity(families, measured, lambda row: row["macs"] / 1e6, lambda alike: f"{alike[0]:.1f}"),
        "",
        "## Below its own dense encoder",
        "Dense mAP minus cross-test mAP.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["below_dense"]["mean"]),
        "",
        "The same, 95 % bootstrap intervals that draw whole classes of queries: the lowest and the highest bound of "
        "any seed.",
        "",
        *intervals(families, measured[:-1], "below_dense"),
        "",
        "## Cross-test minus self-test",
        "Compatible: not below zero.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["cross_minus_self"]["mean"]),
        "",
        "Bootstrap intervals, as above.",
        "",
        *intervals(families, measured[:-1], "cross_minus_self"),
        "",
        "## Capacities that are not listed",
        "Cross-test mAP above (+) or below (-) the line through the listed capacities, 1.0 included. `prunnet`, "
        "`prunnet-light` and `prunnet-masks` draw any capacity in training, the others train the listed ones.",
        "",
        *unseen(families, trained, plan["measured"]),
        "",
        "## Negative flips",
        "Queries whose first hit is right with dense queries and wrong with the subnetwork's, in points.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["flips"]["negative"]),
        "",
        "## Half of the gallery embedded by the subnetwork",
        "mAP of the subnetwork's queries on a gallery of which it embedded half, drawn with a fixed seed, dense the "
        "rest.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["mixed"]["own_queries"]),
    )


def main() -> None:
    runs = load()
    draw(runs)
    PAGE.write_text("\n".join(page(runs)) + "\n")
    print(f"wrote {PAGE} and {PLOT}")


if __name__ == "__main__":
    main()
