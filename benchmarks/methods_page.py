"""Write docs/research/results.md and its plot from the runs in benchmarks/results/methods.

python -m benchmarks.methods_page
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.methods import CONTROL, COST, PLAN, RESULTS, SEEDS, planned
from benchmarks.methods_tables import Runs, by_capacity, equal_size, intervals, spread, unseen
from prunnet.yaml.document import read_document

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


def load() -> Runs:
    """Return the finished runs by method, in the plan's order."""
    found: Runs = defaultdict(list)
    for file in sorted(RESULTS.glob("*.json")):
        run = json.loads(file.read_text())
        found[run["method"]].append(run)
    order = [*read_document(PLAN).values["methods"], CONTROL]
    return {method: found[method] for method in order if method in found}


def dense_map(run: dict[str, Any]) -> float:
    return float(run["rows"][-1]["cross_map"])


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
    """Return what oneDNN's fault (`prunnet.torch_fixes.convolution`) did to these runs."""
    found = json.loads(STRIDED.read_text())
    worst = max(each["difference"] for each in found["runs"])
    right = all(each["right"] for each in found["runs"])
    verdict = "were not trained through wrong gradients" if right else "WERE TRAINED THROUGH WRONG GRADIENTS"
    return (
        "**Gradients.** oneDNN has a fault in the backward pass of strided 1x1 convolutions with few channels "
        "([training](training.md#narrow-layers)). "
        f"These networks and the built-in encoder have {found['layers']} different layers of that kind; the narrowest "
        f"reads {found['narrowest']} channels. Their gradients without our guard differ from float64 by at most "
        f"{worst:.0e} of the largest value, with one and two threads, on AVX-512 and AVX2. The networks {verdict} "
        "(`python -m benchmarks.strided_layers`)."
    )


def without_control(runs: Runs) -> Runs:
    return {method: done for method, done in runs.items() if method != CONTROL}


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


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(f"`{name}: {value}`" for name, value in options.items())


def page(runs: Runs) -> Iterable[str]:
    plan = read_document(PLAN).values
    trained, measured = plan["trained"], [*plan["measured"], 1.0]
    base = plan["base"]
    first = next(iter(runs.values()))[0]
    dense = first["rows"][-1]
    usual = ", ".join(map(str, SEEDS))
    families = without_control(runs)
    follow, methods = plan["follow"], plan["methods"]
    yield from (
        "# Methods side by side",
        "",
        "Every method trains the same network on glyphs, with the same schedule. All are tested on the same "
        f"{first['queries']:,} pictures of characters that no network has seen. The terms are on the "
        "[home page](../index.md#words); what each method sets is in the [recipe](../reference/recipe.md#methods).",
        "",
        "```sh",
        "python -m benchmarks.methods         # train and measure every run of benchmarks/methods.yaml",
        "python -m benchmarks.methods_cost    # what training costs",
        "python -m benchmarks.methods_page    # write this page from the results",
        "```",
        "",
        f"**Network.** {base['encoder']['backbone']} with {_listed(base['encoder']['options'])}, "
        f"{base['encoder']['image_size'][0]} px, {dense['macs'] / 1e6:.1f} MMACs, "
        f"{dense['parameters'] / 1e6:.2f} M parameters.",
        "",
        f"**Schedule.** {base['schedule']['steps']:,} steps of {base['schedule']['batch_size']} pictures, with "
        f"{base['schedule']['warmup_steps']} steps of warm-up. `independent` and `bct` warm up for "
        f"{methods['independent']['schedule']['warmup_steps']}: with fewer, narrow networks that learn alone can stay "
        f"at chance. The methods train the capacities {', '.join(map(str, trained))} and 1. `prunnet`, `prunnet-light` "
        f"and `prunnet-masks` instead draw any capacity, in a second round of {methods['prunnet']['follow_steps']:,} "
        f"steps ({methods['prunnet-masks']['follow_steps']:,} for masks) that leaves the dense encoder unchanged; "
        f"{follow['turned']:.0%} of its pictures are turned or mirrored.",
        "",
        "**Widths.** `prunnet` spares narrow channel groups "
        f"(`spare_narrow: {methods['prunnet']['spare_narrow']}`) and the last residual stream, and cuts more inside "
        f"the last blocks (`keep_factors`), in multiples of {methods['prunnet']['channel_multiple']} channels. "
        "`prunnet-light` also cuts more inside the first blocks, which saves MACs rather than parameters. "
        f"`prunnet-masks` spares small layers (`spare_narrow: {methods['prunnet-masks']['spare_narrow']}`). These "
        "settings were chosen in [trials](method.md) with seed 0 on the same queries, so `prunnet` has an advantage "
        "there. The other methods keep the same share of every group, as published, in multiples of "
        f"{methods['switchnet']['channel_multiple']}.",
        "",
        f"**Runs.** {sum(map(len, runs.values()))} of {len(planned(SEEDS))} are measured, with the seeds {usual} "
        "unless said otherwise."
        + "".join(
            f" {run} was stopped: it was still at chance after three quarters of its steps. Seed {seed} takes its "
            "place; the tax leaves it out."
            for run, seed in plan["instead"].items()
        )
        + " Figures are mAP in points, mean ± standard deviation of the seeds.",
        "",
        gradients_were_right(),
        "",
        "![cross-test mAP by capacity and by MACs](results.png)",
        "",
        "## The dense encoder",
        "",
        "*Tax* is what sharing costs: the mAP of the same network trained dense alone, minus this one's. First against "
        "as many steps as this dense encoder had, then against as many as the longest run had in total. Negative: no "
        "cost. *A step* is the time of a step that trains subnetworks, *training* that of the whole run, both as a "
        "multiple of the dense encoder's. `prunnet-weight` and `prunnet-masks` draw more random numbers before the "
        "classifier and so start elsewhere; their tax includes the spread of dense encoders.",
        "",
        *overview(runs),
        "",
        "## Cross-test mAP by capacity",
        "",
        *by_capacity(families, measured, lambda row: row["cross_map"]),
        "",
        "## Cross-test mAP at equal parameters",
        "",
        "The same capacity gives methods different sizes, since widths are rounded. Here the sizes are equal: shares "
        "of the dense network's non-zero parameters, interpolated linearly between measured points. Methods that train "
        "only the listed capacities are interpolated between those.",
        "",
        *equal_size(
            families, "nonzero_parameters", (0.06, 0.12, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        ),
        "",
        "## Cross-test mAP at equal MACs",
        "",
        "Shares of the dense network's MACs, interpolated in the same way. Masks save no MACs.",
        "",
        *equal_size(families, "macs", (0.32, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)),
        "",
        "## MMACs of one query",
        "",
        "By the capacity asked for. It is the same for every seed.",
        "",
        *by_capacity(families, measured, lambda row: row["macs"] / 1e6, lambda alike: f"{alike[0]:.1f}"),
        "",
        "## Below its own dense encoder",
        "",
        "Dense mAP minus cross-test mAP.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["below_dense"]["mean"]),
        "",
        "95 % bootstrap intervals of the same, over classes of queries: the lowest and the highest bound of any seed.",
        "",
        *intervals(families, measured[:-1], "below_dense"),
        "",
        "## Cross-test minus self-test",
        "",
        "A subnetwork is worth its place on the device if searching the dense gallery is no worse than searching one "
        "that it embedded itself: not below zero.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["cross_minus_self"]["mean"]),
        "",
        "95 % bootstrap intervals of the same.",
        "",
        *intervals(families, measured[:-1], "cross_minus_self"),
        "",
        "## Capacities that are not listed",
        "",
        "How far capacities that are not listed lie above (+) or below (-) the line through those that are. `prunnet`, "
        "`prunnet-light` and `prunnet-masks` trained them; the others did not.",
        "",
        *unseen(families, trained, plan["measured"]),
        "",
        "## Negative flips",
        "",
        "Share of queries whose first hit is right with the dense query and wrong with the subnetwork's, in points.",
        "",
        *by_capacity(families, measured[:-1], lambda row: row["flips"]["negative"]),
        "",
        "## Half of the gallery embedded by the subnetwork",
        "",
        "mAP of the subnetwork's queries on a gallery of which it embedded a random half and the dense encoder the "
        "other.",
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
