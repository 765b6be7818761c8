"""A small real encoder package and device profiles, written to disk as training and users write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import space_id
from prunnet.package.images import PackageImages
from prunnet.package.metadata import BackboneSpec, EncoderMetadata, preprocessing_of
from prunnet.package.save import save_encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from runtime_py.framing import Resize
from tests.exporters.nets import SIDE, glyph_images

OPTIONS = {"channels": [16, 24, 32, 48], "stem_width": 8}


def write_package(folder: Path, resize: Resize | None = None) -> Path:
    """Write an untrained ResNet of 10 layers whose BatchNorm statistics fit the images."""
    torch.manual_seed(3)
    encoder = Encoder.from_timm(
        "resnet10t", dimension=32, image_size=(SIDE, SIDE), options=OPTIONS, resize=resize
    )
    images = glyph_images(48)
    reestimate(encoder, torch.from_numpy(images.copy()))
    encoder.eval()
    prunable = PrunableEncoder(encoder, CutRule("channel", 4))
    prunable.reset_scores("magnitude")
    metadata = EncoderMetadata(
        name="tiny",
        backbone=BackboneSpec(timm="resnet10t", options=OPTIONS, features=encoder.head.project.in_features),
        granularity="channel",
        channel_multiple=4,
        dimension=32,
        preprocessing=preprocessing_of(encoder),
        training_capacities=(0.1, 1.0),
        space_id=space_id(encoder),
    )
    twice = np.r_[0:12, 26:38]  # the same twelve letters in other inks
    probes = PackageImages(images[twice], np.arange(24) % 12, images)
    save_encoder(folder, metadata, prunable, probes, "# tiny\n")
    return folder


PROFILE = """\
schema_version: 1
name: {name}
targets: [{targets}]
hardware: {{soc: test bench, threads: 1, ram: 1GiB, isa: []}}
budgets: {{{budgets}}}
precision: {{{precision}}}
channel_multiple: 4
compatibility: {{{compatibility}}}
sources: {{soc: this test, threads: this test, ram: this test, isa: this test}}
"""

UNTRAINED = "max_recall_drop: 1.0, max_map_drop: 1.0, min_closeness: 0.0, min_own_picture: 0.0"
"""Tolerances of an encoder that was never trained: only the export's own error is judged."""


def write_profile(
    folder: Path,
    name: str = "bench",
    *,
    targets: str = "onnx",
    budgets: str = "",
    precision: str = "",
    compatibility: str = UNTRAINED,
) -> Path:
    """Write a profile and return its path; the arguments are the insides of YAML lists and maps."""
    path = folder / f"{name}.yaml"
    path.write_text(
        PROFILE.format(
            name=name, targets=targets, budgets=budgets, precision=precision, compatibility=compatibility
        )
    )
    return path
