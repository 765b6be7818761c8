"""Where a training step's time goes: seconds of each operation, beside those of a plain dense step.

    python -m benchmarks.step_operations channel --size 224 --batch 64 [--shapes convolution]

Every operation is timed by itself as torch dispatches it, in the fastest of a few steps after warm-up. `--shapes` lists
those whose name contains a text, by the shapes of their tensors. The cases are those of `benchmarks.step_cost`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.step_cost import METHODS, WARM_UP, Case, Setting
from prunnet.train.watch.memory import keep_freed_memory

STEPS = 5
Key = tuple[str, tuple[tuple[int, ...], ...]]
"""An operation's name, and the shapes of its tensors."""


class _Timed(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[Key, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        took = time.perf_counter() - began
        shapes = tuple(tuple(each.shape) for each in args if isinstance(each, torch.Tensor))
        self.seconds[func.__name__, shapes] += took
        return result


def operations(name: str, setting: Setting) -> dict[Key, float]:
    """Return the seconds of each operation in one step of a case, summed by name and shapes."""
    case = Case(name, setting)
    for _ in range(WARM_UP):
        case.step()
    found = []
    for _ in range(STEPS):
        with _Timed() as timed:
            found.append((case.step(), timed.seconds))
    return min(found, key=lambda each: each[0])[1]


def _by_name(seconds: dict[Key, float]) -> dict[str, float]:
    result: defaultdict[str, float] = defaultdict(float)
    for (name, _), took in seconds.items():
        result[name] += took
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=METHODS)
    parser.add_argument("--backbone", default="resnet18", help="timm model name")
    parser.add_argument("--size", type=int, default=224, help="height and width, pixels")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--multiple", type=int, default=8, help="channel widths are multiples of it")
    parser.add_argument(
        "--shapes", metavar="TEXT", help="list these operations by the shapes of their tensors"
    )
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    keep_freed_memory()
    setting = Setting(options.backbone, options.size, options.batch, options.multiple)
    plain, case = (operations(name, setting) for name in ("dense", options.case))
    if options.shapes:
        for (name, shapes), took in sorted(case.items(), key=lambda entry: -entry[1]):
            if options.shapes in name:
                print(f"{1000 * took:8.1f} ms  {name}  {' '.join(map(str, shapes))}")
        return
    dense_of = _by_name(plain)
    for name, took in sorted(_by_name(case).items(), key=lambda entry: -entry[1]):
        dense = dense_of.get(name, 0.0)
        ratio = f"{took / dense:6.2f}" if dense else "     -"
        print(f"{1000 * took:8.1f} ms  dense {1000 * dense:8.1f} ms  {ratio}  {name}")


if __name__ == "__main__":
    main()
