"""Cost of one training step with five capacities, in plain dense steps taken beside it.

    python -m benchmarks.step_cost --size 64 224 --batch 128 128 --rounds 9 --out benchmarks/results/step_cost.json

A plain dense step is what anyone would write: forward, cross-entropy, backward, SGD. Beside it stand the paper's method
on masks (`weight`) and on channels (`channel`), and the second round of the method that ships (`prunnet`), in which the
dense encoder rests; here with all capacities in every step, in training with two that are drawn. Times are medians of
rounds in which a plain dense step takes turns with one of these, with freed memory kept
(`prunnet.train.watch.memory`). Each has a process of its own, as in a training: a third case in the same process
scatters the memory that the others get. Memory is that of a process for each case: the largest resident set while it
trains, less what it held before there was a network.
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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step import step as step_module
from prunnet.train.step.step import Classifier, JointStep
from prunnet.train.watch.memory import keep_freed_memory

CAPACITIES = (0.2, 0.4, 0.6, 0.8)
CLASSES, DIMENSION = 1000, 256
METHODS = {
    "weight": MethodSpec(name="prunnet-weight", scores="magnitude", capacities=CAPACITIES),
    "channel": MethodSpec(name="prunnet-channel", capacities=CAPACITIES),
    "prunnet": MethodSpec(name="prunnet", capacities=CAPACITIES, draw="listed", per_step=None),
}
ASKED = {"weight": 5.2, "channel": 3.3, "prunnet": 3.3}
MOST_INTEGRATION, MOST_MEMORY = 0.05, 1.5
WARM_UP = 5
"""Rounds before those that count: kernels are built, and memory that is kept grows to what a step needs."""


@dataclass(frozen=True)
class Setting:
    """What is trained on what.

    Attributes:
        backbone: A timm model name.
        side: Height and width of the images, pixels.
        batch: Images per step.
        multiple: Of which the widths of the channel granularity are multiples.
    """

    backbone: str
    side: int
    batch: int
    multiple: int


class Case:
    """One way to train: `dense`, or one of `METHODS`."""

    def __init__(self, name: str, setting: Setting) -> None:
        torch.manual_seed(0)
        self.name = name
        side, batch = setting.side, setting.batch
        self._pixels = (255 * torch.rand(batch, 3, side, side)).contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(CLASSES, (batch,))
        encoder = Encoder.from_timm(setting.backbone, dimension=DIMENSION, image_size=(side, side))
        classifier = Classifier(DIMENSION, CLASSES, None)
        if name == "dense":
            self._model = nn.Sequential(_Features(encoder), classifier).train()
            self._model.to(memory_format=torch.channels_last)
            parameters = list(self._model.parameters())
        else:
            method = METHODS[name]
            rule = replace(method.cut_rule, channel_multiple=setting.multiple)
            prunable = PrunableEncoder(encoder, rule).train()
            for part in (prunable.encoder, prunable.scores):
                part.to(memory_format=torch.channels_last)
            prunable.reset_scores(method.scores)
            self._joint = JointStep(prunable, classifier, method)
            parameters = self._joint.parameters
        self._optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    @property
    def gradient_bytes(self) -> int:
        """Return the bytes of all losses' gradients, after a step; the plain dense step stores none."""
        if self.name == "dense":
            return 0
        losses = len(CAPACITIES) + (METHODS[self.name].subnetworks == "together")
        return losses * sum(p.grad.nbytes for p in self._joint.parameters if p.grad is not None)

    def step(self) -> float:
        """Train for one step; returns its seconds."""
        began = time.perf_counter()
        if self.name == "dense":
            self._optimizer.zero_grad()
            F.cross_entropy(self._model(self._pixels), self._labels).backward()
        else:
            if METHODS[self.name].subnetworks == "after":
                self._joint.follow(self._pixels, CAPACITIES)
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


def _times(name: str, setting: Setting, rounds: int) -> dict[str, float]:
    """Time one way to train subnetworks and the plain dense step in turns, in this process."""
    keep_freed_memory()  # as prunnet-train does
    dense, case = Case("dense", setting), Case(name, setting)
    watch = _Stopwatch()
    seconds: list[tuple[float, float]] = []
    shares: list[float] = []
    for number in range(-WARM_UP, rounds):
        plain = dense.step()
        watch.seconds = 0.0
        took = case.step()
        if number >= 0:
            seconds.append((plain, took))
            shares.append(watch.seconds / took)
    return {
        "dense_seconds": statistics.median(plain for plain, _ in seconds),
        "seconds": statistics.median(took for _, took in seconds),
        "dense_steps": statistics.median(took / plain for plain, took in seconds),
        "integration_share": statistics.median(shares),
    }


def _resident(field: str) -> int:
    """Return a field of /proc/self/status, bytes."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(line.split()[1]) * 1024


def _memory(name: str, setting: Setting) -> dict[str, float]:
    before = _resident("VmRSS")
    case = Case(name, setting)
    case.step()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew: building is over
    for _ in range(2):
        case.step()
    return {"peak_bytes": _resident("VmHWM") - before, "gradient_bytes": case.gradient_bytes}


def _in_a_process(
    what: str, name: str, setting: Setting, rounds: int, **environment: str
) -> dict[str, float]:
    """Measure one case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step_cost", "--part", what, name, "--rounds", str(rounds)]
    command += ["--backbone", setting.backbone, "--multiple", str(setting.multiple)]
    command += ["--size", str(setting.side), "--batch", str(setting.batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _memory_of_each(setting: Setting) -> dict[str, dict[str, float]]:
    # Freed memory goes back at once, so that the mark is what is in use and not what malloc keeps.
    at_once = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    result = {name: _in_a_process("memory", name, setting, 0, **at_once) for name in ("dense", *ASKED)}
    dense = result["dense"]["peak_bytes"]
    for name in ASKED:
        case = result[name]
        case["dense_peaks_without_gradients"] = (case["peak_bytes"] - case["gradient_bytes"]) / dense
    return result


def _measured(setting: Setting, rounds: int) -> dict[str, Any]:
    memory = _memory_of_each(setting)
    times = {name: _in_a_process("times", name, setting, rounds) for name in ASKED}
    verdicts = _verdicts(times, memory)
    image = [setting.batch, 3, setting.side, setting.side]
    return {"input": image, "step": times, "memory": memory, "asked": verdicts}


def _verdicts(times: dict[str, dict[str, float]], memory: dict[str, dict[str, float]]) -> dict[str, bool]:
    verdicts = {}
    for name, most in ASKED.items():
        verdicts[f"{name}: at most {most} dense steps"] = times[name]["dense_steps"] <= most
        share = times[name]["integration_share"]
        verdicts[f"{name}: integration at most {MOST_INTEGRATION:.0%}"] = share <= MOST_INTEGRATION
        peak = memory[name]["dense_peaks_without_gradients"]
        verdicts[f"{name}: memory at most {MOST_MEMORY} dense steps and the gradients"] = peak <= MOST_MEMORY
    return verdicts


def _summary(measured: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each case of a setting: times and memory in plain dense steps."""
    batch, _, side, _ = measured["input"]
    yield f"{batch} pictures of {side} px   step     integration   memory without stored gradients"
    for name, step in measured["step"].items():
        peak = measured["memory"][name]["dense_peaks_without_gradients"]
        share = step["integration_share"]
        yield f"  {name:20} {step['dense_steps']:6.2f} {share:12.1%} {peak:13.2f}   dense steps"


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
    parser.add_argument("--multiple", type=int, default=8, help="channel widths are multiples of it")
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each case")
    parser.add_argument("--out", type=Path, help="write everything to this JSON file too")
    parser.add_argument("--part", nargs=2, metavar=("WHAT", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("benchmarks.step_cost measures memory through /proc/self: it needs Linux")
    torch.set_flush_denormal(True)
    settings = [
        Setting(options.backbone, size, batch, options.multiple)
        for size, batch in zip(options.size, options.batch, strict=True)
    ]
    if options.part:
        what, name = options.part
        of = settings[0]
        print(json.dumps(_memory(name, of) if what == "memory" else _times(name, of, options.rounds)))
        return
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "backbone": options.backbone,
        "capacities": [*CAPACITIES, 1.0],
        "channel_multiple": options.multiple,
        "rounds": options.rounds,
        "precision": "float32",
        "settings": [_measured(setting, options.rounds) for setting in settings],
    }
    if options.out:
        options.out.write_text(json.dumps(_rounded(report), indent=1) + "\n")
    print("\n".join(line for setting in report["settings"] for line in _summary(setting)))


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
