"""Cost of one training step with five capacities, in plain dense steps, side by side in one process.

    python -m benchmarks.step_cost --size 64 224 --batch 128 64 --rounds 9 --out benchmarks/results/step_cost.json

A plain dense step is what anyone would write: forward, cross-entropy, backward, SGD. Times are medians of rounds in
which the cases take turns, all with freed memory kept (`prunnet.train.memory`). Memory is that of a process of its own
for each case: the largest resident set while it trains, less what it held before there was a network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from prunnet.encoder import Encoder
from prunnet.prunable import PrunableEncoder
from prunnet.train import step as step_module
from prunnet.train.memory import keep_freed_memory
from prunnet.train.method import MethodSpec
from prunnet.train.step import Classifier, JointStep

CAPACITIES = (0.2, 0.4, 0.6, 0.8)
CLASSES, DIMENSION = 1000, 256
ASKED = {"weight": 5.2, "channel": 3.3}
MOST_INTEGRATION, MOST_MEMORY = 0.05, 1.5
WARM_UP = 5
"""Rounds before those that count: kernels are built, and memory that is kept grows to what a step needs."""


class Case:
    """One way to train: `dense`, `weight` or `channel`.

    Args:
        name: The way.
        side: Height and width of the images, pixels.
        batch: Images per step.
        multiple: Of which the widths of `channel` are multiples.
    """

    def __init__(self, name: str, backbone: str, side: int, batch: int, multiple: int) -> None:
        torch.manual_seed(0)
        self.name = name
        self._pixels = (255 * torch.rand(batch, 3, side, side)).contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(CLASSES, (batch,))
        encoder = Encoder.from_timm(backbone, dimension=DIMENSION, image_size=(side, side))
        classifier = Classifier(DIMENSION, CLASSES, None)
        if name == "dense":
            self._model = nn.Sequential(_Features(encoder), classifier).train()
            self._model.to(memory_format=torch.channels_last)
            parameters = list(self._model.parameters())
        else:
            prunable = PrunableEncoder(encoder, name, multiple).train()
            prunable.to(memory_format=torch.channels_last)
            method = MethodSpec(name=f"prunnet-{name}", granularity=name, capacities=CAPACITIES)
            prunable.reset_scores("magnitude")
            self._joint = JointStep(prunable, classifier, method)
            parameters = self._joint.parameters
            self.gradient_bytes = (1 + len(CAPACITIES)) * sum(p.nbytes for p in parameters)
        self._optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step(self) -> float:
        """Train for one step; returns its seconds."""
        began = time.perf_counter()
        if self.name == "dense":
            self._optimizer.zero_grad()
            F.cross_entropy(self._model(self._pixels), self._labels).backward()
        else:
            self._joint(self._pixels, self._labels, CAPACITIES)
            nn.utils.clip_grad_norm_(self._joint.parameters, 10.0)
        self._optimizer.step()
        return time.perf_counter() - began


class _Features(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.encoder.features(pixels)


class _Stopwatch:
    """Adds up the seconds that joint steps spend in the integration."""

    def __init__(self) -> None:
        self.seconds, self._integrate = 0.0, step_module.integrate
        step_module.integrate = self._timed  # type: ignore[assignment]

    def _timed(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = self._integrate(*arguments)
        self.seconds += time.perf_counter() - began
        return result


def _times(backbone: str, size: int, batch: int, multiple: int, rounds: int) -> dict[str, dict[str, float]]:
    cases = [Case(name, backbone, size, batch, multiple) for name in ("dense", *ASKED)]
    watch = _Stopwatch()
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    shares: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(-WARM_UP, rounds):
        for case in cases:
            watch.seconds = 0.0
            took = case.step()
            if number >= 0:
                seconds[case.name].append(took)
                shares[case.name].append(watch.seconds / took)
    dense = statistics.median(seconds["dense"])
    result = {"dense": {"seconds": dense, "dense_steps": 1.0}}
    for name in ASKED:
        ratios = [a / b for a, b in zip(seconds[name], seconds["dense"], strict=True)]
        result[name] = {
            "seconds": statistics.median(seconds[name]),
            "dense_steps": statistics.median(ratios),
            "integration_share": statistics.median(shares[name]),
        }
    return result


def _resident(field: str) -> int:
    """Return a field of /proc/self/status, bytes."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(line.split()[1]) * 1024


def _memory(name: str, backbone: str, size: int, batch: int, multiple: int) -> dict[str, int]:
    before = _resident("VmRSS")
    case = Case(name, backbone, size, batch, multiple)
    case.step()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew: building is over
    for _ in range(2):
        case.step()
    return {"peak_bytes": _resident("VmHWM") - before, "gradient_bytes": getattr(case, "gradient_bytes", 0)}


def _memory_of_each(backbone: str, size: int, batch: int, multiple: int) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {}
    for name in ("dense", *ASKED):
        command = [sys.executable, "-m", "benchmarks.step_cost", "--memory-of", name]
        command += ["--backbone", backbone, "--size", str(size), "--batch", str(batch)]
        command += ["--multiple", str(multiple)]
        # Freed memory goes back at once, so that the mark is what is in use and not what malloc keeps.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        result[name] = json.loads(done.stdout)
    dense = result["dense"]["peak_bytes"]
    for name in ASKED:
        case = result[name]
        case["dense_peaks_without_gradients"] = (case["peak_bytes"] - case["gradient_bytes"]) / dense
    return result


def _measured(options: argparse.Namespace, size: int, batch: int) -> dict[str, Any]:
    memory = _memory_of_each(options.backbone, size, batch, options.multiple)
    times = _times(options.backbone, size, batch, options.multiple, options.rounds)
    verdicts = _verdicts(times, memory)
    return {"input": [batch, 3, size, size], "step": times, "memory": memory, "asked": verdicts}


def _verdicts(times: dict[str, dict[str, float]], memory: dict[str, dict[str, float]]) -> dict[str, bool]:
    verdicts = {}
    for name, most in ASKED.items():
        verdicts[f"{name}: at most {most} dense steps"] = times[name]["dense_steps"] <= most
        share = times[name]["integration_share"]
        verdicts[f"{name}: integration at most {MOST_INTEGRATION:.0%}"] = share <= MOST_INTEGRATION
        peak = memory[name]["dense_peaks_without_gradients"]
        verdicts[f"{name}: memory at most {MOST_MEMORY} dense steps and the gradients"] = peak <= MOST_MEMORY
    return verdicts


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18", help="timm model name")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[64], help="height and width, pixels; or several"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[128], help="images per step, for each size")
    parser.add_argument("--multiple", type=int, default=8, help="widths of `channel` are multiples of it")
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each case")
    parser.add_argument("--out", type=Path, help="JSON file to write; else it is printed")
    parser.add_argument("--memory-of", choices=("dense", *ASKED), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    if options.memory_of:
        of = (options.memory_of, options.backbone, options.size[0], options.batch[0], options.multiple)
        print(json.dumps(_memory(*of)))
        return
    keep_freed_memory()  # as prunnet-train does
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "backbone": options.backbone,
        "capacities": [*CAPACITIES, 1.0],
        "channel_multiple": options.multiple,
        "rounds": options.rounds,
        "precision": "float32",
        "settings": [
            _measured(options, size, n) for size, n in zip(options.size, options.batch, strict=True)
        ],
    }
    text = json.dumps(_rounded(report), indent=1) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text, end="")


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    names = [row for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


if __name__ == "__main__":
    main()
