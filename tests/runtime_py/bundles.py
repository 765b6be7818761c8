"""Manifests and probes of the tiny encoder."""

from __future__ import annotations

import functools

import numpy as np

from runtime_py.drift import measure
from runtime_py.manifest import Cost, Manifest, Preprocessing, Tolerances
from runtime_py.probes import Probes
from tests.runtime_py import tiny
from tests.runtime_py.artifacts import IDENTITY, SUFFIX, infos


@functools.cache
def probes() -> Probes:
    """The glyph images with the embeddings of the tiny encoder and of its dense relative."""
    images, labels = tiny.glyph_images()
    return Probes(
        images=images,
        labels=labels,
        dense=tiny.embed(tiny.near_encoder(), images),
        subnetwork=tiny.embed(tiny.tiny_encoder(), images),
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
        drift=measure(np.array(its_probes.subnetwork), its_probes, Tolerances(), "torch"),
        tools={"torch": "2.13"},
        created="2026-11-22T00:00:00Z",
        files={},
    ).model_copy(update=changes)
