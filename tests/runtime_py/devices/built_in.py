"""Bundles of the built-in encoder, as its export makes them, or with a fault inside."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from exporters.pipeline.originals import originals_of
from exporters.pipeline.verification import Verified, verify
from exporters.quiet import quiet
from exporters.targets.registry import get_exporter
from exporters.targets.spec import Artifact, ExportSpec
from prunnet.encoder.embedding import embed
from prunnet.package.load import load_encoder
from runtime_py.bundle.probes import Parity, Probes
from runtime_py.bundle.tolerances import TABLE
from runtime_py.bundle.write import write_bundle
from runtime_py.check.parity_pictures import parity_pictures
from tests.runtime_py import bundles

CAPACITY = 0.2


FAULTS = {
    "swapped": lambda image: image[:, [2, 1, 0]],
    "video": lambda image: image * (219 / 255) + 16,
}
"""What a faulty exporter does to the pixels: red for blue, and video's range 16..235."""


class Faulty(torch.nn.Module):
    """The network of a faulty exporter."""

    def __init__(self, inner: torch.nn.Module, fault: str) -> None:
        super().__init__()
        self.inner, self.fault = inner, FAULTS[fault]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.inner(self.fault(image))


class BuiltIn:
    """Makes each bundle once.

    Args:
        folder: Takes the artifacts and bundles.
        capacity: Of the subnetwork.
    """

    def __init__(self, folder: Path, capacity: float = CAPACITY) -> None:
        self._folder, self._capacity = folder, capacity
        self._honest: dict[tuple[str, str], tuple[Artifact, Verified]] = {}

    def bundle(self, target: str, precision: str, *, fault: str = "", **changes: object) -> Path:
        """A bundle whose manifest is that of the honest export, its hashes and its seal right.

        Args:
            target: Of the artifact.
            precision: Of the artifact.
            fault: One of `FAULTS`, in the artifact alone.
            changes: Other fields of the manifest.
        """
        artifact, verified = self._honest_export(target, precision)
        spec = self._spec(precision)
        draft = bundles.manifest(
            target,
            verified.probes,
            encoder=spec.identity.name,
            space_id=spec.identity.space_id,
            prunnet_version=spec.identity.version,
            capacity=spec.identity.capacity,
            precision=precision,
            artifact=artifact.path.name,
            input=artifact.input,
            output=artifact.output,
            preprocessing=spec.preprocessing,
            drift=verified.drift,
            **changes,
        )
        file = artifact.path
        if fault:
            file = self._convert(Faulty(self._module, fault).eval(), target, precision, fault).path
        name = f"{target}-{precision}-{fault or 'right'}-bundle"
        return write_bundle(draft, file, verified.probes, self._folder / name)

    def _honest_export(self, target: str, precision: str) -> tuple[Artifact, Verified]:
        key = (target, precision)
        if key not in self._honest:
            artifact = self._convert(self._module, target, precision, "honest")
            with quiet(Path(os.devnull)):
                verified = verify(target, artifact, self._spec(precision), self._probes, TABLE[precision])
            assert verified.drift.verdict == "compatible", verified.drift.reasons
            self._honest[key] = artifact, verified
        return self._honest[key]

    def _convert(self, module: torch.nn.Module, target: str, precision: str, kind: str) -> Artifact:
        folder = self._folder / f"{target}-{precision}-{kind}"
        folder.mkdir()
        with quiet(Path(os.devnull)):
            return get_exporter(target).convert(module, self._spec(precision), folder)

    def _spec(self, precision: str) -> ExportSpec:
        return replace(self._fp32, precision=precision)

    @cached_property
    def _fp32(self) -> ExportSpec:
        return ExportSpec.of(self._package, self._package.prunable.at(self._capacity).achieved, "fp32")

    @cached_property
    def _package(self):
        return load_encoder("glyphs")

    @cached_property
    def _module(self) -> torch.nn.Module:
        return self._package.subnetwork(self._capacity)

    @cached_property
    def _probes(self) -> Probes:
        package = self._package
        pictures = parity_pictures(package.preprocessing.height, package.preprocessing.width)
        parity = Parity(pictures, embed(package.subnetwork(1.0), pictures), embed(self._module, pictures))
        images = package.probes.images
        own = embed(self._module, images)
        originals = originals_of(package, self._module)
        return Probes(images, package.probes.labels, package.dense, own, parity, originals=originals)
