"""Prints a measured curve."""

from __future__ import annotations

import json
from typing import Any

from runtime_py.table import align

_HEADER = ("capacity", "reached", "MFLOPs", "cross mAP", "self mAP", "cross R@1", "below dense")


def curve_table(curve: dict[str, Any], control: dict[str, Any] | None = None) -> str:
    """Return the curve as a table of plain text; mAP and Recall@1 in points, FLOPs are 2 x MACs."""
    rows = [
        (
            f"{p['capacity']:g}",
            f"{p['achieved']:.3f}",
            f"{p['mflops']:.1f}",
            f"{p['cross_map']:.1f}",
            f"{p['self_map']:.1f}",
            f"{p['cross_recall_at_1']:.1f}",
            f"{p['below_dense']['mean']:.2f}",
        )
        for p in curve["points"]
    ]
    lines = align([_HEADER, *rows])
    lines.append(f"dense: mAP {curve['dense_map']:.1f}, Recall@1 {curve['dense_recall_at_1']:.1f}")
    if control:
        lines.append(f"trained dense alone: mAP {control['dense_map']:.1f}; tax {control['tax']:+.1f} points")
    return "\n".join(lines)


def curve_as_json(metrics: dict[str, Any]) -> str:
    """Return the figures as JSON."""
    return json.dumps(metrics, indent=1)
