"""The model card of an encoder package: the measured curve in words and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunnet.package.metadata import EncoderMetadata


def card(metadata: EncoderMetadata) -> str:
    """Return the text of an encoder package's README.md; every figure comes from the metadata."""
    metrics = metadata.metrics
    pre = metadata.preprocessing
    backbone = metadata.backbone.timm or "a module of the user's own"
    narrow = "narrow groups" if metadata.granularity == "channel" else "small layers"
    lines = [
        f"# {metadata.name}",
        "",
        f"A prunable encoder: {backbone} {metadata.backbone.options or ''}".rstrip()
        + f", {pre.width} x {pre.height} RGB pixels in, {metadata.dimension}-d unit-length embedding out, "
        f"granularity `{metadata.granularity}`.",
        "",
        f"* pictures are resized: {pre.resize}",
        f"* space id `{metadata.space_id}`",
        f"* trained capacities {', '.join(f'{c:g}' for c in metadata.training_capacities)}"
        f"{' and any between' if _draws_between(metadata.recipe) else ''}; "
        f"widths in multiples of {metadata.channel_multiple}"
        + (f", {narrow} cut later (b = {metadata.spare_narrow:g})" if metadata.spare_narrow else "")
        + "".join(
            f", `{pattern}` keeps {factor:g} times its share"
            for pattern, factor in metadata.keep_factors.items()
        ),
        *_dense_from(metrics),
        f"* trained on {metrics['data']}; test: {metrics['protocol']}"
        + (f"; {metrics['curve']['queries']} queries" if "curve" in metrics else ""),
    ]
    if "curve" in metrics:
        lines += _curve(metrics)
    elif "official" in metrics:
        lines += _official(metrics["official"], metrics.get("control"))
    else:
        lines.append("* not measured yet: prunnet-train was interrupted; let it end with --resume")
    lines += ["", "## How it was trained", "", "```json", _compact(metadata.recipe), "```", ""]
    return "\n".join(lines)


def _draws_between(recipe: dict[str, Any]) -> bool:
    return bool(recipe.get("method", {}).get("draw") == "sandwich")


def _dense_from(metrics: dict[str, Any]) -> list[str]:
    if "dense_from" not in metrics:
        return []
    return [f"* its dense encoder is that of the package `{metrics['dense_from']}`, kept as it is"]


def _curve(metrics: dict[str, Any]) -> list[str]:
    curve, magnitude = metrics["curve"], metrics.get("magnitude")
    lines = [
        f"* dense: mAP {curve['dense_map']:.1f}, Recall@1 {curve['dense_recall_at_1']:.1f}",
        *_control(metrics.get("control")),
        "",
        "## Measured curve",
        "",
        "Cross-test: the subnetwork's queries against the dense gallery. Self-test: against a gallery of its own. "
        "mAP and Recall@1 in points; FLOPs are 2 x MACs; intervals are 95 % bootstrap intervals over classes.",
        "",
        "| capacity | reached | parameters | MFLOPs | cross mAP | self mAP | cross R@1 | self R@1 | below dense "
        "| cross - self |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(point) for point in curve["points"]),
    ]
    if magnitude:
        lines += [
            "",
            "## Against magnitude",
            "",
            "Cross-test mAP of this encoder's subnetworks, and of the dense weights alone, cut by magnitude.",
            "",
            "| capacity | subnetworks | magnitude |",
            "|---|---|---|",
        ]
        for ours, theirs in zip(curve["points"], magnitude["points"], strict=True):
            lines.append(f"| {ours['capacity']:g} | {ours['cross_map']:.1f} | {theirs['cross_map']:.1f} |")
    return lines


def _official(official: dict[str, Any], control: dict[str, Any] | None) -> list[str]:
    """The figures of an official benchmark: a row for each, a column for each capacity."""
    points = official["points"]
    lines = [f"* not the official benchmark: {difference}" for difference in official["differences"]]
    lines += [f"* {note}" for note in official.get("notes", ())]
    for title, key in (("Cross-test", "cross"), ("Self-test", "own")):
        against = "the dense gallery" if key == "cross" else "a gallery of its own"
        lines += [
            "",
            f"## {title} on {official['task']}",
            "",
            f"The subnetwork's queries against {against}, by the benchmark's own protocol, in points.",
            "",
            "| figure | " + " | ".join(f"{p['capacity']:g} ({p['achieved']:.3f})" for p in points) + " |",
            "|---" * (len(points) + 1) + "|",
            *(
                f"| {name} | " + " | ".join(f"{100 * p[key][name]:.2f}" for p in points) + " |"
                for name in points[0][key]
            ),
        ]
    if control:
        lines += [
            "",
            "## The tax",
            "",
            "The same network trained dense alone for as many steps, and what the dense encoder above is below it.",
            "",
            "| figure | dense alone | tax |",
            "|---|---|---|",
            *(
                f"| {name} | {100 * value:.2f} | {control['tax'][name]:+.2f} |"
                for name, value in control["figures"].items()
            ),
        ]
    return lines


def _row(p: dict[str, Any]) -> str:
    below, excess = p["below_dense"], p["cross_minus_self"]
    return (
        f"| {p['capacity']:g} | {p['achieved']:.3f} | {p['parameters']:,} | {p['mflops']:.1f} | {p['cross_map']:.1f} "
        f"| {p['self_map']:.1f} | {p['cross_recall_at_1']:.1f} | {p['self_recall_at_1']:.1f} "
        f"| {below['mean']:.2f} [{below['low']:.2f}, {below['high']:.2f}] "
        f"| {excess['mean']:+.2f} [{excess['low']:+.2f}, {excess['high']:+.2f}] |"
    )


def _control(control: dict[str, Any] | None) -> list[str]:
    if not control:
        return []
    return [
        f"* the same network trained dense alone for as many steps: mAP {control['dense_map']:.1f}, "
        f"Recall@1 {control['dense_recall_at_1']:.1f}; tax {control['tax']:+.1f} points"
    ]


def _compact(recipe: dict[str, Any]) -> str:
    import json

    return json.dumps(recipe, indent=1)
