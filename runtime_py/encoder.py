"""The query encoder: a verified bundle on its runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import Backend
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.probes import Probes
from runtime_py.check.drift import examine
from runtime_py.check.report import DriftReport
from runtime_py.errors import InferenceError, PrunnetError


class QueryEncoder:
    """Embeds images for one server's index. Made by `runtime_py.load`, which verifies everything first.

    Threads may share one: `embed` and `check` may run at the same time, in any number. LiteRT and ExecuTorch
    compute one image at a time, so that threads wait for each other there; for more throughput than one
    interpreter gives, load one encoder for each thread.

    Args:
        manifest: The bundle's manifest.
        probes: The bundle's probes.
        backend: Its artifact, opened.
    """

    def __init__(self, manifest: Manifest, probes: Probes, backend: Backend) -> None:
        self.manifest = manifest
        self.probes = probes
        self._backend = backend

    @property
    def runtime(self) -> str:
        """Sentence that names the device runtime and its version."""
        return self._backend.runtime

    def embed(self, images: Pixels) -> Floats:
        """Embed images.

        Args:
            images: uint8 [N, H, W, 3], RGB, 0..255, resized to the manifest's `preprocessing`; N may be 0.

        Returns:
            float32 [N, D], unit length.

        Raises:
            TypeError: Not a uint8 array.
            ValueError: Not of that shape.
            InferenceError: The runtime failed.
        """
        wanted = self.manifest.preprocessing
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            given = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
            raise TypeError(
                f"images are {given}, not a uint8 array: give raw RGB pixels 0..255; "
                "the artifact normalises them itself"
            )
        if images.ndim != 4 or images.shape[3] != 3:
            hint = "; add an axis for one image: images[None]" if images.shape[-1:] == (3,) else ""
            raise ValueError(f"images have shape {list(images.shape)}, not [N, H, W, 3] in RGB{hint}")
        if images.shape[1:3] != (wanted.height, wanted.width):
            raise ValueError(
                f"images are {images.shape[1]} x {images.shape[2]} pixels (H x W), this encoder takes "
                f"{wanted.height} x {wanted.width}: resize them with {wanted.resize} interpolation, in PIL "
                f"image.resize(({wanted.width}, {wanted.height}), Image.Resampling.BILINEAR)"
            )
        try:
            return self._backend.run(images)
        except PrunnetError:
            raise
        except Exception as error:  # each runtime has its own, ONNX Runtime's share no base but Exception
            raise InferenceError(self.runtime, error) from error

    def check(self, server: str | Path | None = None) -> DriftReport:
        """Measure drift on this machine's own kernels, from the bundle's probes.

        Args:
            server: What embeds or holds the server's index: an encoder package, an ONNX model, a TensorFlow
                SavedModel, or a stored gallery (.npz). None: the dense embeddings stored in the bundle.

        Returns:
            The verdict with its figures; `not verified` if the server does not say which space it embeds in,
            or if the artifact or the server failed while it ran.

        Raises:
            IncompatibleError: The server's space is another one; nothing was computed.
            BundleError: The server's file cannot be used.
            MissingExtraError: A package that opens the server is not installed.
        """
        from runtime_py.check.against_server import check_server

        tolerances = self.manifest.drift.tolerances
        try:
            if server is not None:
                return check_server(self.manifest, self.probes, self.embed, self.runtime, server)
            recorded = self.manifest.drift.figures
            record = examine(self.embed, self.probes, tolerances, self.runtime, recorded)
        except InferenceError as error:
            where = None if server is None else str(server)
            reasons = (str(error),)
            return DriftReport("not verified", reasons, None, tolerances, self.runtime, server=where)
        return DriftReport.of(record, recorded)
