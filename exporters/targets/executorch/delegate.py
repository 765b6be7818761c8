"""Lowers a program to XNNPACK and proves it on one picture; what fails there is kept out of the delegate.

XNNPACK takes some graphs without a word and fails when they run: a clamp with a positive minimum that it fuses into the
convolution before it, for instance ("error 0x1"). The kernels of ExecuTorch itself compute the same, so the kind of
operation at fault stays with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.errors import ExportError
from exporters.targets.explained import remedy

if TYPE_CHECKING:
    import torch

SUSPECTS = ("clamp", "hardtanh", "relu", "maximum", "minimum", "max")
"""Kinds that are tried first: XNNPACK fuses them into what comes before."""

NEEDED = ("convolution", "linear", "addmm", "mm", "bmm")
"""Kinds that stay in the delegate: without it they would take a hundred times as long."""

LEAST_COSINE = 0.999
"""Of the lowered program's answer with the network's; rounding in float32 stays far above it."""


@dataclass(frozen=True)
class Lowered:
    """A program for the device.

    Args:
        program: ExecuTorch's edge program, delegated.
        buffer: The bytes of the `.pte`.
        notes: Which kind of operation was kept out of the delegate, and why.
        missing: Operations outside of the delegate for which ExecuTorch has no kernel, e.g. "sort.values".
    """

    program: Any
    buffer: bytes
    notes: tuple[str, ...]
    missing: tuple[str, ...]


def lower(
    exported: Callable[[], torch.export.ExportedProgram],
    constants: dict[str, Any],
    example: torch.Tensor,
    expected: torch.Tensor | None,
) -> Lowered:
    """Lower a program, leaving out of the delegate the one kind of operation with which it would not run.

    Args:
        exported: Makes the program anew; lowering uses it up.
        constants: Constant methods of the `.pte`.
        example: An input.
        expected: What the network answers to it; None for int8, whose closeness is judged on all probes.

    Raises:
        ExportError: An operation has no kernel, or the program does not run, whichever kind is kept out; names the
            operation or the kinds.
    """
    whole = _lowered(exported(), constants, frozenset())
    if whole.missing:
        said = "; ".join(f"{name} ({remedy(name.partition('.')[0])})" for name in whole.missing)
        raise ExportError("executorch", "verify", f"ExecuTorch has no kernel for the operation {said}")
    problem = _problem(whole.buffer, example, expected)
    if problem is None:
        return whole
    kinds = _delegated(whole.program)
    for kind in sorted(kinds - set(NEEDED), key=lambda kind: (_suspicion(kind), kind)):
        less = _lowered(exported(), constants, frozenset({kind}))
        if _problem(less.buffer, example, expected) is None:
            note = f"{kind} runs in ExecuTorch's own kernels: with it in XNNPACK, {problem}"
            return Lowered(less.program, less.buffer, (note,), ())
    raise ExportError(
        "executorch",
        "verify",
        f"{problem}, whichever kind of operation is kept out of XNNPACK ({', '.join(sorted(kinds))}); try the target "
        "tflite or onnx, or write the backbone's last change with other operations",
    )


def _lowered(
    exported: torch.export.ExportedProgram, constants: dict[str, Any], outside: frozenset[str]
) -> Lowered:
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    inside = [each for each in ALL_PARTITIONER_CONFIGS if each.target_name.split(".")[0] not in outside]
    partitioner = XnnpackPartitioner(configs=inside) if outside else XnnpackPartitioner()
    program = to_edge_transform_and_lower(exported, partitioner=[partitioner], constant_methods=constants)
    graph = program.exported_program().graph_module
    written = program.to_executorch()
    return Lowered(graph, bytes(written.buffer), (), _without_kernels(written))


def _without_kernels(written: Any) -> tuple[str, ...]:
    """Return the operations of a written program that the runtime does not know, without their namespace."""
    from executorch.runtime import Runtime

    known = set(Runtime.get().operator_registry.operator_names)
    called = {
        f"{operator.name}.{operator.overload}" if operator.overload else operator.name
        for plan in written.executorch_program.execution_plan
        if plan.name == "forward"
        for operator in plan.operators
    }
    return tuple(sorted(name.rpartition("::")[2] for name in called - known))


def _problem(buffer: bytes, example: torch.Tensor, expected: torch.Tensor | None) -> str | None:
    """Run the program once; say what is wrong with it, None if nothing is."""
    import torch
    from executorch.runtime import Runtime

    try:
        method = Runtime.get().load_program(buffer).load_method("forward")
        assert method is not None
        (answer,) = method.execute([example])
    except (RuntimeError, ValueError) as error:
        return f"the program does not run ({next(iter(str(error).splitlines()), type(error).__name__)})"
    if expected is None:
        return None
    close = float(torch.cosine_similarity(answer.double(), expected.double()).min())
    return None if close >= LEAST_COSINE else f"the program answers wrongly (cosine {close:.3f})"


def _delegated(graph: torch.fx.GraphModule) -> set[str]:
    """Return the kinds of operations inside the delegate, as the partitioner's configurations call them."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.devtools.backend_debug import get_delegation_info

    rows = get_delegation_info(graph).delegation_by_operator.items()
    inside = {name for name, row in rows if row.delegated}
    known = {each.target_name.split(".")[0] for each in ALL_PARTITIONER_CONFIGS}
    return {kind for kind in known if any(kind in name for name in inside)}


def _suspicion(kind: str) -> int:
    return SUSPECTS.index(kind) if kind in SUSPECTS else len(SUSPECTS)
