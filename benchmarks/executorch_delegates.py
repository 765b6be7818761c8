"""Which delegates of ExecuTorch that no target writes take our encoders? The built-in one, lowered and not run.

    python -m benchmarks.executorch_delegates [--capacity 0.2] [--only vulkan]

Needs `ethos-u-vela` and `tosa-tools` for Arm Ethos-U; a delegate whose compiler is absent is said to be so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import prunnet
from exporters.quiet import quiet
from exporters.targets.adaptive_pool import with_fixed_windows


@dataclass(frozen=True)
class Lowered:
    """A `.pte`, how many of its operations are inside of the delegate, and the names of those that are not."""

    content: bytes
    inside: int
    outside: tuple[str, ...]


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capacity", type=float, default=0.2)
    parser.add_argument("--only", choices=["vulkan", "ethos-u"])
    options = parser.parse_args()
    package = prunnet.load_encoder("glyphs")
    module = package.subnetwork(options.capacity)
    images = torch.from_numpy(package.probes.calibration).permute(0, 3, 1, 2).float().contiguous()
    module = with_fixed_windows(module.eval(), images[:1])
    delegates: dict[str, Callable[[], Lowered]] = {
        "vulkan fp32": lambda: vulkan(module, images),
        "ethos-u55-128 int8": lambda: ethos_u(module, images, "ethos-u55-128"),
        "ethos-u85-256 int8": lambda: ethos_u(module, images, "ethos-u85-256"),
    }
    for name, lower in delegates.items():
        if options.only is None or name.startswith(options.only):
            print(f"{name:20} {_line(lower)}", flush=True)


def _line(lower: Callable[[], Lowered]) -> str:
    try:
        with quiet(Path(os.devnull)):
            made = lower()
    except Exception as error:  # whatever a compiler raises is this table's answer
        return f"does not lower: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    outside = f"outside: {', '.join(made.outside)}" if made.outside else "none outside"
    return f"{len(made.content):,} bytes, {made.inside} operations inside, {outside}"


if __name__ == "__main__":
    main()
