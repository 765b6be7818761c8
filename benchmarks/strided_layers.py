"""Were the published networks trained through the fault that `prunnet.torch_fixes.convolution` guards against?

    python -m benchmarks.strided_layers

Lists every pointwise convolution with a stride in the networks of docs/research/results.md and in the built-in encoder,
at all capacities that training draws, and compares its gradients without the guard, by torch's own kernels, with
float64: in child processes that import torch alone, under this processor's instruction set and AVX2, with one and two
threads.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.methods import planned
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.build import Start, build
from prunnet.train.recipe.recipe import Recipe, load_recipe
from runtime_py.disk.files import write_atomically

Layer = tuple[int, int, int, int]
"""Input and output channels, stride, and height or width of the input, pixels."""

RESULT = Path(__file__).parent / "results" / "strided_layers.json"
OWN = torch.backends.cpu.get_cpu_capability()
ITEMS = 10_000
BATCH = 128
REPEATS = 5
TOLERANCE = 1e-4
"""Largest difference to float64, in the largest value of the gradient."""

_CHILD = f"""
import json, sys, torch
worst = 0.0
torch.set_num_threads(int(sys.argv[2]))
for cin, cout, stride, size in json.loads(sys.argv[1]):
    torch.manual_seed(cin + cout)
    form = torch.channels_last
    x = torch.randn({BATCH}, cin, size, size).to(memory_format=form)
    w = torch.randn(cout, cin, 1, 1).to(memory_format=form)
    y = torch.nn.functional.conv2d(x, w, stride=stride)
    g = torch.randn_like(y)
    fixed = [0], [stride] * 2, [0, 0], [1, 1], False, [0, 0], 1, [True, True, False]
    wanted = torch.ops.aten.convolution_backward(g.double(), x.double(), w.double(), *fixed)[:2]
    for _ in range({REPEATS}):
        found = torch.ops.aten.convolution_backward(g, x, w, *fixed)[:2]
        for one, other in zip(found, wanted):
            worst = max(worst, float((one - other).abs().max() / other.abs().max()))
print(worst)
"""


def networks() -> Iterator[tuple[str, nn.Module]]:
    """Yield every network that a published run trains, with the name of the run."""
    recipes = [run.recipe for run in planned([0])] + [load_recipe("glyphs")]
    for recipe in recipes:
        capacities = recipe.method.capacities
        if recipe.method.networks != "one":
            alone = recipe.dense_alone().for_items(ITEMS)
            for capacity in (*capacities, 1.0):
                yield recipe.name, _built(alone, Start(capacity)).encoder
            continue
        prunable = _built(recipe.for_items(ITEMS), Start())
        drawn = prunable.capacities() if recipe.method.draw == "sandwich" else capacities
        if prunable.granularity == "weight" or not capacities:
            drawn = ()
        for capacity in {*capacities, *(c for c in drawn if c >= min(capacities)), 1.0}:
            yield recipe.name, prunable.at(capacity).skeleton().to_empty(device="cpu")


def _built(recipe: Recipe, start: Start) -> PrunableEncoder:
    return build(recipe, 10, torch.device("cpu"), start).prunable


def strided_layers(network: nn.Module) -> set[Layer]:
    """Return the pointwise convolutions with a stride that a network runs on its images."""
    found: set[Layer] = set()

    def note(module: nn.Conv2d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if module.kernel_size == (1, 1) and max(module.stride) > 1:
            found.add((module.in_channels, module.out_channels, module.stride[0], inputs[0].shape[2]))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *network.image_size))
    return found


def main() -> None:
    by_layer: dict[Layer, set[str]] = {}
    for name, network in networks():
        for layer in strided_layers(network):
            by_layer.setdefault(layer, set()).add(name)
    narrowest = min(by_layer)
    print(
        f"{len(by_layer)} pointwise convolutions with a stride; the narrowest reads {narrowest[0]} channels"
    )
    runs = []
    for isa in ("", "AVX2"):
        for threads in (1, 2):
            given = {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}
            command = [sys.executable, "-c", _CHILD, json.dumps(sorted(by_layer)), str(threads)]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)} | given
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            difference = float(done.stdout) if done.returncode == 0 else math.inf
            right = difference < TOLERANCE
            runs.append({"isa": isa or OWN, "threads": threads, "difference": difference, "right": right})
            print(runs[-1], done.stderr[-200:])
    found = {"layers": len(by_layer), "narrowest": narrowest[0], "torch": torch.__version__, "runs": runs}
    write_atomically(RESULT, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
