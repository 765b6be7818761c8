"""Prepares a program for execution: constants as tensors, weights unfolded, the last use of each result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runtime_py.errors import BundleError
from runtime_py.mil_executor.operands import OperandError, Operands, Result, Value
from runtime_py.mil_executor.program import Constant, Operation, Program, Reference
from runtime_py.mil_executor.registry import KERNELS, Kernel

_UNFOLDING = "constexpr_"


@dataclass(frozen=True)
class Step:
    """One operation, ready to run.

    Args:
        operation: The operation with its declared outputs.
        kernel: What computes it.
        operands: Parameter -> constants, and references to earlier results.
        finished: Results that no later step needs.
    """

    operation: Operation
    kernel: Kernel
    operands: dict[str, tuple[Value | Reference, ...]]
    finished: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The steps of a program in order, and its constants as kernels take them (floating point as float32)."""

    steps: tuple[Step, ...]
    constants: dict[str, Value]


def make_plan(program: Program, file: Path) -> Plan:
    """Prepare a program whose operations all have kernels.

    Args:
        program: The program.
        file: The file named in errors.

    Raises:
        BundleError: Compressed weights that cannot be unfolded.
    """
    constants = {name: _value(constant) for name, constant in program.constants.items()}
    for operation in program.operations:
        if operation.kind.startswith(_UNFOLDING):
            constants.update(_unfold(operation, constants, file))
    widened = {name: _widen(value) for name, value in constants.items()}
    executed = [o for o in program.operations if not o.kind.startswith(_UNFOLDING)]
    finished = _last_uses(executed, keep={*program.outputs, *widened})
    steps = tuple(
        Step(
            operation,
            KERNELS[operation.kind],
            {
                key: tuple(_operand(argument, widened) for argument in arguments)
                for key, arguments in operation.operands.items()
            },
            tuple(finished.get(index, ())),
        )
        for index, operation in enumerate(executed)
    )
    return Plan(steps, widened)


def compute(operation: Operation, run: Callable[[], Result], file: Path) -> tuple[Tensor, ...]:
    """Run a kernel on operands that come out of `file`: what is wrong with them is wrong with the file.

    Raises:
        BundleError: The kernel cannot take its operands, or yields another number of results than declared.
    """
    label = f"operation {operation.kind} {next(iter(operation.outputs))!r}"
    try:
        found = run()
    except (OperandError, RuntimeError, IndexError, ValueError, TypeError) as error:
        raise BundleError(file, f"{label} cannot be executed: {error}") from error
    results = found if isinstance(found, tuple) else (found,)
    if len(results) != len(operation.outputs):
        raise BundleError(file, f"{label} yields {len(results)} results, declares {len(operation.outputs)}")
    return results


def _unfold(operation: Operation, constants: dict[str, Value], file: Path) -> dict[str, Value]:
    """Compute weights that are stored compressed, in their own types; they depend on constants only."""
    resolved: dict[str, tuple[Value, ...]] = {}
    for key, arguments in operation.operands.items():
        for argument in arguments:
            if isinstance(argument, Reference) and argument.name not in constants:
                raise BundleError(
                    file, f"operation {operation.kind} takes {argument.name!r}, which is not a constant"
                )
        resolved[key] = tuple(constants[a.name] if isinstance(a, Reference) else _value(a) for a in arguments)
    results = compute(operation, lambda: KERNELS[operation.kind](Operands(resolved)), file)
    return dict(zip(operation.outputs, results, strict=True))


def _last_uses(operations: list[Operation], keep: set[str]) -> dict[int, list[str]]:
    """Return, by the position of the operation, the results that it is the last to take."""
    last = {
        argument.name: index
        for index, operation in enumerate(operations)
        for arguments in operation.operands.values()
        for argument in arguments
        if isinstance(argument, Reference)
    }
    uses: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in keep:
            uses.setdefault(index, []).append(name)
    return uses


def _operand(argument: Reference | Constant, constants: dict[str, Value]) -> Value | Reference:
    if isinstance(argument, Reference):
        return constants.get(argument.name, argument)
    return _widen(_value(argument))


def _value(constant: Constant) -> Value:
    if isinstance(constant, str):
        return constant
    if isinstance(constant, tuple):
        return tuple(_value(item) for item in constant)
    return torch.from_numpy(np.array(constant))


def _widen(value: Value) -> Value:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    return value if isinstance(value, str) else tuple(_widen(item) for item in value)
