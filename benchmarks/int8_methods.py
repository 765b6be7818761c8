"""Would better ranges, bias correction, equalisation or tuning help int8? Emulated in torch, one change at a time.

    python -m benchmarks.int8_methods [--methods NAME ...]
    python -m benchmarks.int8_methods --page

The network is executed with every layer in int8 (`exporters.targets.sensitivity.RoundedNetwork`): the built-in encoder,
and untrained ones with BatchNorm statistics of real pictures. Ranges are found on the calibration pictures; distances
are 1 - cosine with the float network, over 312 other pictures and the parity pictures, which go beyond the ranges.
`--methods` measures some anew, and keeps the other rows.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Interpreter, Node

from benchmarks.page import DOCS, put
from benchmarks.precision_matrix import BUILT_IN, Subject, Subjects
from exporters.targets.layers import owners, weights_of
from exporters.targets.retraced import kind_of, shape_of
from exporters.targets.sensitivity import Range, RoundedNetwork, Rounder, extremes, rounded
from prunnet.evaluate.leave_one_out import LeaveOneOut

PAGE = DOCS / "research" / "int8.md"
COMMAND = "python -m benchmarks.int8_methods --page"
RESULTS = Path(__file__).parent / "results" / "int8_methods.json"
ENCODERS = (BUILT_IN, "mobilenetv2_100", "mobilenetv3_small_100")
CALIBRATION = 64
LEARNING_RATE = 1e-4
"""Of Adam, at the first step of a tuning; it falls to nothing."""
TUNING = {"extremes, tuned for 200 steps": 200}
"""Method -> steps of 64 calibration pictures."""
SAMPLED = 200_000
"""Values of a result from which its range is found."""


@dataclass(frozen=True)
class Row:
    """One method on one encoder; distances are 1 - cosine."""

    encoder: str
    method: str
    mean: float = 0.0
    worst: float = 0.0
    synthetic_worst: float = 0.0
    map_change: float = 0.0
    """Points of mean average precision against the float network, on the same pictures."""
    error: str = ""


def percentile(share: float) -> Callable[[torch.Tensor], Range]:
    """Return what leaves out the outer values of a sample, half on each side."""

    def of(sample: torch.Tensor) -> Range:
        low, high = np.quantile(sample.numpy(), [(1 - share) / 2, (1 + share) / 2])
        return min(float(low), 0.0), max(float(high), 0.0)

    return of


def least_error(sample: torch.Tensor) -> Range:
    """Return the part of the range in which rounding and clipping together err least, in the mean square."""
    low, high = min(float(sample.min()), 0.0), max(float(sample.max()), 0.0)
    candidates = [(low * part, high * part) for part in np.linspace(0.3, 1, 29)]
    return min(candidates, key=lambda each: float((rounded(sample, each) - sample).square().mean()))


def of_sample(find: Callable[[torch.Tensor], Range]) -> Callable[[torch.Tensor], Range]:
    """Return what finds a range from an even sample of the values."""

    def of(values: torch.Tensor) -> Range:
        flat = values.flatten()
        return find(flat[:: max(1, len(flat) // SAMPLED)])

    return of


class Corrected(Rounder):
    """Adds to each layer's result the mean that rounding took from it, over the calibration pictures.

    Each correction is found with all layers before it rounded and corrected, as one would write it into the bias.
    """

    def __init__(self, network: RoundedNetwork, means: dict[Node, torch.Tensor], pictures: int) -> None:
        super().__init__(network.network, network.nodes.keys(), network.ranges)
        self._means, self._pictures = means, pictures
        self._current: Node | None = None

    def run_node(self, n: Node) -> Any:
        self._current = n
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().call_function(target, args, kwargs)
        if self._current in self._means:
            value = value + (self._means[self._current] - channel_means(value[: self._pictures]))
        return value


class Means(Interpreter):
    """Notes the mean of each channel of the layers' results, in float."""

    def __init__(self, network: RoundedNetwork, pictures: int) -> None:
        super().__init__(network.network)
        self._layers, self._pictures = network.nodes, pictures
        self.means: dict[Node, torch.Tensor] = {}

    def run_node(self, n: Node) -> Any:
        value = None if n.op == "call_module" else super().run_node(n)
        if n in self._layers and weights_of(n) is not None:
            self.means[n] = channel_means(value[: self._pictures])
        return value


def channel_means(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of each channel, in a shape that broadcasts: axis 1 of a map, the last one otherwise."""
    axis = 1 if value.ndim == 4 else value.ndim - 1
    return value.mean([each for each in range(value.ndim) if each != axis], keepdim=True)


def equalised(module: nn.Module, example: torch.Tensor) -> tuple[nn.Module, int]:
    """Return a copy that computes the same, with channels between two convolutions scaled to like ranges of weights.

    Only across ReLU, which a positive factor passes through (Nagel et al., Data-free quantization, section 4.1).

    Returns:
        The copy, and how many pairs there were.
    """
    module = copy.deepcopy(module)
    graph = torch.export.export(module, (example,)).run_decompositions({}).module().graph
    pairs = 0
    with torch.no_grad():
        for first in owners(graph):
            found = _pair(first)
            if found is None:
                continue
            scale, shift, weights = (module.get_parameter(str(node.target)) for node in found)
            before = (
                module.get_parameter(str(weights_of(first).target)).flatten(1).abs().amax(1) * scale.abs()
            )
            grouped = weights.shape[1] == 1 and len(weights) == len(scale)
            after = weights.flatten(1).abs().amax(1) if grouped else weights.abs().amax((0, 2, 3))
            factor = ((before * after).sqrt() / after).clamp(1e-3, 1e3)  # the first is divided by it
            factor[(before == 0) | (after == 0)] = 1
            scale /= factor
            shift /= factor
            weights *= factor.reshape(-1, 1, 1, 1) if grouped else factor.reshape(1, -1, 1, 1)
            pairs += 1
    return module, pairs


def _pair(first: Node) -> tuple[Node, Node, Node] | None:
    """Return scale and shift of the BatchNorm behind a convolution, and the weights of the next one, behind a ReLU."""
    if kind_of(first) != "conv2d" or weights_of(first) is None:
        return None
    node = _only_user(first)
    if node is None or kind_of(node) != "_native_batch_norm_legit_no_training":
        return None
    parts = [user for user in node.users if user.users]
    activation = _only_user(parts[0]) if len(parts) == 1 else None
    if activation is None or kind_of(activation) != "relu":
        return None
    second = _only_user(activation)
    if second is None or kind_of(second) != "conv2d" or weights_of(second) is None:
        return None
    weights = weights_of(second)
    grouped = len(second.args) > 6 and second.args[6] > 1
    return (
        None
        if grouped and shape_of(weights)[1] > 1
        else (node.all_input_nodes[1], node.all_input_nodes[2], weights)
    )


def tuned(subject: Subject, steps: int) -> nn.Module:
    """Return a copy whose parameters were moved so that the network in int8 embeds as the float one does.

    Rounding passes gradients on as if it were not there (Jacob et al., Quantization and training of neural networks,
    section 3). Statistics of BatchNorm and ranges stay. The float network at capacity 1 is the dense one.
    """
    module = copy.deepcopy(subject.module)
    pictures = torch.from_numpy(subject.calibration).permute(0, 3, 1, 2).float()
    wanted = subject.module(pictures).detach()
    network = RoundedNetwork(module, subject.calibration[:CALIBRATION], subject.calibration[:0])
    parameters = dict(network.network.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randperm(len(pictures), generator=generator)[:CALIBRATION]
        embedding = Rounder(network.network, network.nodes.keys(), network.ranges).run(pictures[chosen])
        loss = (1 - (torch.utils._pytree.tree_leaves(embedding)[0] * wanted[chosen]).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    module.load_state_dict(
        {**module.state_dict(), **{name: each.detach() for name, each in parameters.items()}}
    )
    return module


def _only_user(node: Node | None) -> Node | None:
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


RANGES: dict[str, Callable[[torch.Tensor], Range]] = {
    "extremes": extremes,
    "99.99 % of the values": of_sample(percentile(0.9999)),
    "99.9 % of the values": of_sample(percentile(0.999)),
    "least square error": of_sample(least_error),
}
METHODS = (*RANGES, "extremes, bias correction", "extremes, equalisation", "extremes, both", *TUNING)


def measure(subject: Subject, method: str) -> Row:
    """Emulate one method on one encoder."""
    calibration, probes = subject.calibration[:CALIBRATION], subject.probes
    assert probes.parity is not None
    module, pairs = subject.module, 1
    if method.endswith(("equalisation", "both")):
        example = torch.zeros(1, 3, subject.preprocessing.height, subject.preprocessing.width)
        module, pairs = equalised(module, example)
    if method in TUNING:
        module = tuned(subject, TUNING[method])
    if not pairs:
        return Row(subject.name, method, error="no two convolutions with BatchNorm and ReLU between them")
    unlike = np.concatenate([probes.images, probes.parity.images])
    network = RoundedNetwork(module, calibration, unlike, RANGES.get(method, extremes))
    exact = RoundedNetwork(subject.module, calibration, unlike).run(())
    if method.endswith(("correction", "both")):
        means = Means(network, len(calibration))
        network.execute(means)
        found = network.execute(Corrected(network, means.means, len(calibration)))
    else:
        found = network.run(network.layers)
    distances = (1 - (exact.double() * found.double()).sum(1)).numpy()[len(calibration) :]
    real = slice(len(calibration), len(calibration) + len(probes.images))
    protocol = LeaveOneOut(probes.labels)
    scores = [protocol.measure(each[real].numpy(), probes.dense).map for each in (found, exact)]
    return Row(
        subject.name,
        method,
        mean=float(distances[: len(probes.images)].mean()),
        worst=float(distances[: len(probes.images)].max()),
        synthetic_worst=float(distances[len(probes.images) :].max()),
        map_change=scores[0] - scores[1],
    )


def read() -> list[Row]:
    """Return the committed rows."""
    return [Row(**row) for row in json.loads(RESULTS.read_text())]


def as_page(rows: list[Row]) -> str:
    """Return the table."""
    lines = [
        "| encoder | method | mean | worst | worst parity picture | mAP |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        start = f"| {row.encoder} | {row.method} |"
        if row.error:
            lines.append(f"{start} {row.error} | | | |")
        else:
            figures = (
                f"{row.mean:.1e} | {row.worst:.1e} | {row.synthetic_worst:.1e} | {row.map_change:+.2f} |"
            )
            lines.append(f"{start} {figures}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from the results")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="all")
    options = parser.parse_args()
    if not options.page:
        subjects = Subjects()
        rows = {(row.encoder, row.method): row for row in read()}
        for name in ENCODERS:
            subject = subjects.of(name, 1.0)
            for method in options.methods:
                rows[name, method] = measure(subject, method)
                print(rows[name, method], flush=True)
        ordered = [rows[name, method] for name in ENCODERS for method in METHODS if (name, method) in rows]
        RESULTS.write_text(json.dumps([asdict(row) for row in ordered], indent=1) + "\n")
    put(PAGE, COMMAND, as_page(read()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
