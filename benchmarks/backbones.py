"""Say of each backbone what is pruned, what keeps its full width and why, and how small its subnetworks get.

python -m benchmarks.backbones            print the table
python -m benchmarks.backbones --write    put it into docs/reference/backbones.md
"""

from __future__ import annotations

import argparse
import math
from collections import Counter

from benchmarks.page import DOCS, put
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.groups import ChannelGroup
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule

PAGE = DOCS / "reference" / "backbones.md"
COMMAND = "python -m benchmarks.backbones --write"
BACKBONES = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "mobilenetv2_100",
    "convnext_atto",
    "convnext_tiny",
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
)
MULTIPLES = (1, 4, 8)
ASKED = (0.2, 0.5)
HEADER = (
    "backbone",
    "parameters",
    "prunable: channel, weight",
    "channel groups",
    "keeps its full width, and why",
    "smallest: weight",
    *(f"channel x{multiple}" for multiple in MULTIPLES),
    f"channel x8 reaches for {ASKED[0]:g}, {ASKED[1]:g}",
)


def table(names: tuple[str, ...] = BACKBONES) -> str:
    lines = [_line(HEADER), "|" + "---|" * len(HEADER), *map(row, names)]
    return "\n".join(lines) + "\n"


def row(name: str) -> str:
    """Return the line of one backbone, in its own size and width."""
    encoder = Encoder.from_timm(name).eval()
    channel, weight = (
        PrunableEncoder(encoder, CutRule("channel")),
        PrunableEncoder(encoder, CutRule("weight")),
    )
    dense = {n: p.numel() for n, p in encoder.named_parameters() if not n.startswith("head.")}
    total = sum(dense.values())
    owned = {s.name for group in channel.cutter.groups for s in group.slices}
    masked = sum(dense[n] for n in weight.cutter.shapes)
    return _line(
        (
            f"`{name}`",
            f"{total / 1e6:.2f} M",
            f"{100 * sum(dense.get(n, 0) for n in owned) / total:.1f} %, {100 * masked / total:.1f} %",
            _kinds(channel.cutter.groups),
            _fixed(channel.fixed),
            f"{weight.capacities()[0]:.4g}",
            *(_up(channel.capacities(multiple)[0]) for multiple in MULTIPLES),
            ", ".join(f"{channel.at(asked, 8).achieved:.3f}" for asked in ASKED),
        )
    )


def _kinds(groups: tuple[ChannelGroup, ...]) -> str:
    heads = Counter(g.channels_per_unit for g in groups if g.name.endswith(".qkv"))
    blocks = sum(g.channels_per_unit > 1 and not g.name.endswith(".qkv") for g in groups)
    plain = len(groups) - heads.total() - blocks
    kinds = [f"{plain} of channels"] if plain else []
    kinds += [f"{blocks} of blocks of a grouped convolution"] if blocks else []
    kinds += [f"{count} of attention heads ({size} channels each)" for size, count in heads.items()]
    return ", ".join(kinds)


def _fixed(fixed: dict[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in fixed.items():
        if name != "head.project":
            place = name.removeprefix("backbone.")
            reasons.setdefault(reason.replace("LayerNorm2d", "LayerNorm"), []).append(place)
    said = (
        f"{', '.join(f'`{name}`' for name in sorted(names))}: {reason}" for reason, names in reasons.items()
    )
    return "; ".join(said) or "nothing"


def _up(capacity: float) -> str:
    """Three significant digits, rounded up: what is printed can be asked for."""
    unit = 10.0 ** (math.floor(math.log10(capacity)) - 2)
    return f"{math.ceil(capacity / unit - 1e-9) * unit:.3g}"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    if not parser.parse_args().write:
        print(table(), end="")
        return
    put(PAGE, COMMAND, table())


if __name__ == "__main__":
    main()
