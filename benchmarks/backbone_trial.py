"""Try one backbone: cut it, compare slice and zeros, train a step, export. Each stage prints one line of JSON.

python -m benchmarks.backbone_trial mobilenetv4_conv_small cut train onnx tflite
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.own_modules import KINDS
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.package.metadata import preprocessing_of
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.tensors import as_batch
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.step import Classifier, JointStep
from runtime_py.bundle.identity import Identity
from runtime_py.errors import PrunnetError
from tests.oracles.masking import masked_encoder

MULTIPLE = 8


def encoder_of(name: str) -> Encoder:
    """Build a backbone of timm on 64 pixels, or on its own size if it has only one; or one of `own_modules`."""
    torch.manual_seed(0)
    if name in KINDS:
        return Encoder.from_module(KINDS[name](), dimension=16, image_size=(32, 32))
    try:
        encoder = Encoder.from_timm(name, dimension=32, image_size=(64, 64))
    except EncoderError:
        encoder = Encoder.from_timm(name, dimension=32)
    with torch.no_grad():
        for module in encoder.modules():  # what starts at zero would hide what is cut
            if isinstance(getattr(module, "gamma", None), nn.Parameter):
                nn.init.uniform_(module.gamma, 0.5, 1.0)
        for parameter in encoder.parameters():
            if parameter.ndim and not parameter.any():
                parameter.uniform_(-0.2, 0.2)
    return encoder


def images_of(encoder: Encoder, count: int = 8) -> np.ndarray:
    """Return coloured squares, uint8 [count, H, W, 3]."""
    height, width = encoder.image_size
    squares = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 3))
    return np.ascontiguousarray(
        squares.repeat(-(-height // 8), 1).repeat(-(-width // 8), 2)[:, :height, :width], np.uint8
    )


def cut(name: str) -> tuple[dict[str, Any], PrunableEncoder, np.ndarray]:
    encoder = encoder_of(name)
    images = images_of(encoder)
    reestimate(encoder, torch.from_numpy(images))
    start = time.perf_counter()
    prunable = PrunableEncoder(encoder.eval(), CutRule("channel", MULTIPLE)).eval()
    seconds = time.perf_counter() - start
    prunable.reset_scores("random")
    dense = {n: p.numel() for n, p in encoder.named_parameters() if not n.startswith("head.")}
    owned = {s.name for group in prunable.cutter.groups for s in group.slices}
    capacity = max(0.5, prunable.capacities()[0])
    with torch.no_grad():
        sliced = prunable.at(capacity).extract()(as_batch(images))
        masked = masked_encoder(prunable, capacity).eval()(as_batch(images))
    reasons = Counter(why for module, why in prunable.fixed.items() if module != "head.project")
    return (
        {
            "seconds": round(seconds, 2),
            "parameters": sum(dense.values()),
            "share": sum(dense.get(n, 0) for n in owned) / sum(dense.values()),
            "groups": len(prunable.cutter.groups),
            "smallest": prunable.capacities()[0],
            "differs": float((sliced - masked).abs().max()),
            "spread": float(sliced.std(0).max()),
            "fixed": reasons.most_common(),
        },
        prunable,
        images,
    )


def train(prunable: PrunableEncoder, images: np.ndarray) -> dict[str, Any]:
    """Take one step with a subnetwork of 0.5."""
    capacity = max(0.5, prunable.capacities()[0])
    joint = JointStep(
        prunable.train(), Classifier(prunable.encoder.dimension, 4, None), MethodSpec(capacities=(capacity,))
    )
    losses = joint(as_batch(images), torch.arange(len(images)) % 4, (capacity,))
    finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in joint.parameters)
    prunable.eval()
    return {
        "losses": [round(x, 4) for x in losses.tolist()],
        "finite": bool(losses.isfinite().all()) and finite,
    }


def export(target: str, name: str, prunable: PrunableEncoder, images: np.ndarray) -> dict[str, Any]:
    """Export a subnetwork of 0.5 and compare its embeddings on the target's runtime."""
    capacity = max(0.5, prunable.capacities()[0])
    module = prunable.at(capacity).extract()
    reestimate(module, torch.from_numpy(images))
    identity = Identity(name, "0" * 32, capacity, prunable.encoder.dimension, "0")
    spec = ExportSpec(identity, preprocessing_of(module), "fp32", images)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        get_exporter(target).convert(module, spec, Path(folder))
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
    return {"seconds": round(time.perf_counter() - start, 1), "bytes": size}


@contextlib.contextmanager
def _stage(name: str) -> Iterator[dict[str, Any]]:
    said: dict[str, Any] = {}
    try:
        yield said
    except PrunnetError as error:
        said["refused"] = " ".join(str(error).split())
    except Exception as error:
        said["raw"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    print("STAGE", json.dumps({name: said}), flush=True)


def attempt(name: str, stages: list[str]) -> None:
    """Cut one backbone, then go through further stages."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    prunable = None
    with _stage("cut") as said:
        found, prunable, images = cut(name)
        said |= found
    for stage in stages if prunable is not None else ():
        with _stage(stage) as said:
            said |= train(prunable, images) if stage == "train" else export(stage, name, prunable, images)


if __name__ == "__main__":
    attempt(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # some exporters leave threads
