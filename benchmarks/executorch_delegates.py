"""Which of ExecuTorch's delegates take our encoders? Lower the built-in one to each, and run what can run here.

    python -m benchmarks.executorch_delegates [--capacity 0.2] [--only coreml]

Needs `ethos-u-vela` and `tosa-tools` for Arm Ethos-U; a delegate whose compiler is absent is said to be so.

* `coreml`: the delegate's program is a Core ML package. It is unpacked from the `.pte`, and prunnet's executor of Core
  ML programs embeds all probes with it.
* `vulkan`, `ethos-u`: they are lowered and compiled. Nothing here runs them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import prunnet
from exporters.quiet import quiet
from exporters.targets.adaptive_pool import with_fixed_windows
from runtime_py.mil_executor.executor import Executor
from runtime_py.mil_executor.package import Package


@dataclass(frozen=True)
class Lowered:
    """A `.pte`, how many of its operations are inside of the delegate, and the names of those that are not."""

    content: bytes
    inside: int
    outside: tuple[str, ...]


def coreml(module: torch.nn.Module, images: torch.Tensor, precision: str) -> Lowered:
    """Lower to Core ML for iOS 17, "FLOAT16" or "FLOAT32"."""
    import coremltools as ct
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision[precision]
    )
    return _lowered(torch.export.export(module, (images[:1],)), CoreMLPartitioner(compile_specs=specs))


def vulkan(module: torch.nn.Module, images: torch.Tensor) -> Lowered:
    """Lower to Vulkan, fp32."""
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return _lowered(torch.export.export(module, (images[:1],)), VulkanPartitioner())


def ethos_u(module: torch.nn.Module, images: torch.Tensor, macs: str) -> Lowered:
    """Quantise to int8 and compile with Vela, e.g. for "ethos-u55-128"."""
    from executorch.backends.arm.ethosu import EthosUCompileSpec, EthosUPartitioner
    from executorch.backends.arm.quantizer import EthosUQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    spec = EthosUCompileSpec(macs)
    quantizer = EthosUQuantizer(spec).set_global(get_symmetric_quantization_config())
    plain = torch.export.export(module, (images[:1],)).module(check_guards=False)
    prepared: Any = prepare_pt2e(plain, quantizer)
    for image in images:
        prepared(image[None])
    return _lowered(torch.export.export(convert_pt2e(prepared), (images[:1],)), EthosUPartitioner(spec))


def _lowered(exported: torch.export.ExportedProgram, partitioner: Any) -> Lowered:
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(exported, partitioner=[partitioner])
    rows = get_delegation_info(program.exported_program().graph_module).delegation_by_operator
    outside = sorted(name for name, row in rows.items() if row.non_delegated and name != "getitem")
    inside = sum(row.delegated for row in rows.values())
    return Lowered(bytes(program.to_executorch().buffer), inside, tuple(outside))


def core_ml_package(pte: bytes, folder: Path) -> Path:
    """Unpack the one Core ML package that a `.pte` holds."""
    from executorch.backends.apple.coreml import executorchcoreml
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = deserialize_pte_binary(pte).program
    (forward,) = (plan for plan in program.execution_plan if plan.name == "forward")
    (delegate,) = forward.delegates
    content = program.backend_delegate_data[delegate.processed.index].data
    if not executorchcoreml.unflatten_directory_contents(bytes(content), str(folder)):
        raise RuntimeError("the delegate's bytes are not a folder")
    (package,) = folder.rglob("*.mlpackage")
    return package


def executed(pte: bytes, pixels: torch.Tensor) -> np.ndarray:
    """Embed float32 [N, 3, H, W] with the Core ML program of a `.pte`."""
    with tempfile.TemporaryDirectory() as folder:
        executor = Executor(Package(core_ml_package(pte, Path(folder))), "declared")
        ((name, _),) = executor.inputs.items()
        return np.concatenate(
            [executor.run({name: image[None].numpy()})[executor.outputs[0]] for image in pixels]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capacity", type=float, default=0.2)
    parser.add_argument("--only", choices=["coreml", "vulkan", "ethos-u"])
    options = parser.parse_args()
    package = prunnet.load_encoder("glyphs")
    module = package.subnetwork(options.capacity)
    pixels = torch.from_numpy(package.probes.images).permute(0, 3, 1, 2).float().contiguous()
    images = torch.from_numpy(package.probes.calibration).permute(0, 3, 1, 2).float().contiguous()
    with torch.inference_mode():
        wanted = module(pixels).numpy().copy()
    module = with_fixed_windows(module.eval(), images[:1])
    delegates: dict[str, Callable[[], Lowered]] = {
        "coreml fp16": lambda: coreml(module, images, "FLOAT16"),
        "coreml fp32": lambda: coreml(module, images, "FLOAT32"),
        "vulkan fp32": lambda: vulkan(module, images),
        "ethos-u55-128 int8": lambda: ethos_u(module, images, "ethos-u55-128"),
        "ethos-u85-256 int8": lambda: ethos_u(module, images, "ethos-u85-256"),
    }
    for name, lower in delegates.items():
        if options.only is None or name.startswith(options.only):
            print(f"{name:20} {_line(name, lower, pixels, wanted)}", flush=True)


def _line(name: str, lower: Callable[[], Lowered], pixels: torch.Tensor, wanted: np.ndarray) -> str:
    try:
        with quiet(Path(os.devnull)):
            made = lower()
    except Exception as error:  # whatever a compiler raises is this table's answer
        return f"does not lower: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    outside = f"outside: {', '.join(made.outside)}" if made.outside else "none outside"
    said = f"{len(made.content):,} bytes, {made.inside} operations inside, {outside}"
    if not name.startswith("coreml"):
        return f"{said}; not run"
    found = executed(made.content, pixels)
    cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    return f"{said}; executed, {len(found)} probes: cosine min {cosines.min():.7f}, mean {cosines.mean():.7f}"


if __name__ == "__main__":
    main()
