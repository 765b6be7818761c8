"""Manifests and probes of the tiny encoder."""

from __future__ import annotations

import functools

import numpy as np

from exporters.pipeline.originals import drawn
from runtime_py.bundle.manifest import Cost, Manifest, Preprocessing
from runtime_py.bundle.originals import Originals
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE, Tolerances
from runtime_py.check.drift import measure
from runtime_py.check.originals import framed
from runtime_py.check.parity_pictures import parity_pictures
from runtime_py.framing import Framing
from tests.runtime_py import tiny
from tests.runtime_py.artifacts import IDENTITY, SUFFIX, infos

VERSION_1 = Tolerances(
    min_cosine=0.999, min_mean_cosine=0.9999, min_top1_agreement=0.99, max_recall_drop=0.05, max_map_drop=0.05
)
"""What every bundle of schema version 1 was held against, unless its profile said otherwise."""


@functools.cache
def probes() -> Probes:
    """The glyph images with the embeddings of the tiny encoder and of its dense relative."""
    images, labels = tiny.glyph_images()
    size = Framing(height=tiny.SIZE, width=tiny.SIZE)
    files = drawn(size)
    pictures = parity_pictures(tiny.SIZE, tiny.SIZE)
    return Probes(
        images=images,
        labels=labels,
        dense=tiny.embed(tiny.near_encoder(), images),
        subnetwork=tiny.embed(tiny.tiny_encoder(), images),
        parity=Parity(
            pictures, tiny.embed(tiny.near_encoder(), pictures), tiny.embed(tiny.tiny_encoder(), pictures)
        ),
        originals=Originals(files, tiny.embed(tiny.tiny_encoder(), framed(files, size))),
    )


def manifest(target: str, its_probes: Probes, **changes: object) -> Manifest:
    """A manifest of the tiny encoder, not sealed, with a passing drift record."""
    image, embedding = infos(target)
    return Manifest(
        prunnet_version=IDENTITY["prunnet.version"],
        encoder=IDENTITY["prunnet.name"],
        space_id=IDENTITY["prunnet.space_id"],
        capacity=0.5,
        capacity_asked=0.5,
        granularity="channel",
        target=target,
        precision="fp32",
        profile="any-linux",
        artifact=f"encoder{SUFFIX[target]}",
        input=image,
        output=embedding,
        preprocessing=Preprocessing(
            height=tiny.SIZE, width=tiny.SIZE, mean=(128.0, 128.0, 128.0), std=(64.0, 64.0, 64.0)
        ),
        predicted=Cost(),
        measured=Cost(),
        budgets=(),
        drift=measure(np.array(its_probes.subnetwork), its_probes, TABLE["fp32"], "torch"),
        tools={"torch": "2.13"},
        created="2026-11-22T00:00:00Z",
        files={},
    ).model_copy(update=changes)
