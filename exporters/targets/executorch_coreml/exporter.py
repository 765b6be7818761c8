"""ExecuTorch with the Core ML delegate: the whole network is one Core ML package inside the `.pte`."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.errors import ExportError
from exporters.targets.adaptive_pool import with_fixed_windows
from exporters.targets.base import Exporter, ExportSpec, Written
from exporters.targets.mlprogram.coremltools_import import coremltools
from exporters.targets.mlprogram.package import make_reproducible
from exporters.targets.mlprogram.precision import runs_in_fp16
from exporters.targets.mlprogram.ranges import IMAGES, check_range
from exporters.targets.pte import constants, undelegated
from exporters.targets.soundness import example_input
from runtime_py.backends.delegated import METADATA, PACKAGE, flattened, pieces, write_pieces

if TYPE_CHECKING:
    import torch

_ALONE = threading.Lock()
"""Held while ExecuTorch's own choice of fp16 is replaced."""


class ExecuTorchCoreMLExporter(Exporter):
    """Exports to a `.pte` for iOS 17 and macOS 14 or later, all of which runs in Core ML.

    fp16 keeps the normalisation of the pixels and of the embedding in fp32, as the target `coreml` does; the embedding
    itself is rounded at the end.
    """

    target = "executorch-coreml"
    float_precision = "fp16"
    suffix = ".pte"
    packages = ("executorch", "coremltools")

    def _write(self, module: torch.nn.Module, spec: ExportSpec, path: Path) -> Written:
        import torch
        from executorch.exir import to_edge_transform_and_lower

        coremltools()
        example = example_input(spec)
        program = torch.export.export(with_fixed_windows(module, example), (example,))
        with _precision(spec), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the toolchain's own deprecations are for its authors
            lowered = to_edge_transform_and_lower(
                program, partitioner=[_partitioner(spec)], constant_methods=constants(spec)
            )
        graph = lowered.exported_program().graph_module
        if outside := undelegated(graph):
            raise ExportError(
                self.target,
                "convert",
                f"Core ML's delegate leaves out {outside}; take the target coreml or executorch",
            )
        notes = _tidied(_delegate(graph), spec)
        path.write_bytes(bytes(lowered.to_executorch().buffer))
        return Written(spec.pixels("NCHW"), spec.embedding(), notes)


def _partitioner(spec: ExportSpec) -> Any:
    ct = coremltools()
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32 if spec.precision == "fp32" else ct.precision.FLOAT16,
    )
    return CoreMLPartitioner(compile_specs=specs)


@contextmanager
def _precision(spec: ExportSpec) -> Iterator[None]:
    """Let fp16 end before the embedding is normalised; the delegate's own option rounds everything.

    Where a device adds up in fp16, a sum of squares overflows beyond a length of 256.
    """
    from executorch.backends.apple.coreml.compiler import CoreMLBackend

    name = "model_compute_precision_from_compile_specs"
    if spec.precision == "fp32":
        yield
        return
    chosen = coremltools().transform.FP16ComputePrecision(op_selector=runs_in_fp16)
    with _ALONE:
        before = CoreMLBackend.__dict__[name]
        setattr(CoreMLBackend, name, staticmethod(lambda specs: chosen))
        try:
            yield
        finally:
            setattr(CoreMLBackend, name, before)


def _delegate(graph: torch.fx.GraphModule) -> Any:
    from executorch.exir.lowered_backend_module import LoweredBackendModule

    parts = [part for part in graph.children() if isinstance(part, LoweredBackendModule)]
    if len(parts) != 1:
        raise ExportError(
            "executorch-coreml",
            "convert",
            f"the network is in {len(parts)} parts of Core ML's delegate, which nothing off macOS can run together; "
            "take the target coreml or executorch",
        )
    return parts[0]


def _tidied(delegate: Any, spec: ExportSpec) -> tuple[str, ...]:
    """Make the delegate's bytes the same for the same network, and without debugging files; look at its range.

    The delegate caches what it compiled by the identifier of the model, which ExecuTorch picks at random. Here it is
    the hash of the package: another network has another.
    """
    files = pieces(delegate.processed_bytes)
    metadata = json.loads(files[METADATA])
    (name,) = metadata["inputNames"]
    with tempfile.TemporaryDirectory(prefix="prunnet-") as scratch:
        folder = Path(scratch)
        write_pieces(files, folder)
        make_reproducible(folder / PACKAGE)
        tidy = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in (folder / PACKAGE).rglob("*")
            if path.is_file()
        }
        notes: tuple[str, ...] = ()
        if spec.precision == "fp16":
            notes = check_range(
                folder / PACKAGE, name, spec.as_taken(spec.calibration_images[:IMAGES]), "executorch-coreml"
            )
    digest = hashlib.sha256(flattened(tidy)).digest()
    metadata["identifier"] = f"executorch_{uuid.UUID(bytes=digest[:16])}"
    delegate._processed_bytes = flattened({**tidy, METADATA: json.dumps(metadata).encode()})
    return notes
