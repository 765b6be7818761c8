"""Draw the capacity curve of an encoder with the shipped devices on it.

    python -m benchmarks.capacity_curve [ENCODER] [OUT.png]

The curve is read from the encoder's own card; the devices' capacities come from the solver.
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from prunnet.errors import InfeasibleError
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile, shipped_profiles
from prunnet.solver import solve


def main(encoder: str = "glyphs", out: str = "docs/research/capacity_curve.png") -> None:
    package = load_encoder(encoder)
    metrics = package.metadata.metrics
    points = metrics["curve"]["points"]
    achieved = [p["achieved"] for p in points]
    cross = [p["cross_map"] for p in points]
    figure, axes = plt.subplots(figsize=(8, 4.2), dpi=110)
    axes.plot(achieved, cross, "o-", label="cross-test: its queries, the server's dense gallery", zorder=3)
    axes.plot(
        achieved, [p["self_map"] for p in points], "s--", color="grey", label="self-test: its own gallery"
    )
    magnitude = metrics["magnitude"]["points"]
    axes.plot(
        [p["achieved"] for p in magnitude],
        [p["cross_map"] for p in magnitude],
        "^:",
        color="tab:red",
        label="same weights, channels ranked by magnitude",
    )
    axes.axhline(metrics["curve"]["dense_map"], color="black", linewidth=0.8)
    axes.annotate("dense", (0.02, metrics["curve"]["dense_map"]), textcoords="offset points", xytext=(0, 4))
    by_capacity: dict[float, list[str]] = {}
    for name in shipped_profiles():
        profile = load_profile(name)
        for target in profile.targets:
            try:
                plan = solve(package, profile, target)
            except InfeasibleError:
                continue
            by_capacity.setdefault(round(plan.capacity, 3), []).append(f"{name} ({target})")
    for capacity, names in by_capacity.items():
        height = float(np.interp(capacity, achieved, cross))
        axes.plot([capacity], [height], "*", color="tab:green", markersize=14, zorder=4)
        label = ", ".join(sorted({n.split(" ")[0] for n in names}))
        axes.annotate(
            label, (capacity, height), textcoords="offset points", xytext=(-2, 9), rotation=40, fontsize=8
        )
    low = min(cross)
    axes.set(
        xlabel="capacity (kept / dense prunable parameters)",
        ylabel="mAP on unseen characters",
        ylim=(low - 10, metrics["curve"]["dense_map"] + 8),
        xlim=(0, 1.12),
    )
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
