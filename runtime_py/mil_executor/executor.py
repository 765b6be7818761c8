"""Walks the operations of a saved program and computes each with torch on the CPU.

Modes: `float32` never rounds activations (what the graph means); `declared` rounds each result to the type
that the file declares for it; `fp16acc` also rounds partial sums of matrix products and of ungrouped
convolutions to fp16, where fp16 is declared: a pessimistic bound for hardware that accumulates in fp16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runtime_py.errors import BundleError, UnknownNameError, UnsupportedProgramError
from runtime_py.mil_executor import ops as _ops  # noqa: F401  (fills the table of kernels)
from runtime_py.mil_executor.operands import Operands, Value
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.plan import Step, compute, make_plan
from runtime_py.mil_executor.program import Operation, Reference, TensorType, read_program
from runtime_py.mil_executor.registry import KERNELS, unknown

Mode = Literal["float32", "declared", "fp16acc"]
Observer = Callable[[str, str, Tensor], None]
"""Called with operation, name and rounded value of each result."""

DEFAULT_CHUNK = 32
"""Products that fp16acc sums in fp32 before it rounds. Apple publishes none; 1 is the most pessimistic."""

_TORCH = {
    "bool": torch.bool, "fp16": torch.float32, "fp32": torch.float32, "fp64": torch.float32,
    "int8": torch.int8, "int16": torch.int16, "int32": torch.int32, "int64": torch.int64,
    "uint8": torch.uint8, "uint16": torch.uint16, "uint32": torch.uint32, "uint64": torch.uint64,
}  # fmt: skip


class Executor:
    """An opened program that can be run.

    Args:
        package: The package to execute.
        mode: How results are rounded.
        chunk: For `fp16acc`: products that are summed before a rounding, at least 1.

    Raises:
        BundleError: The program or its weights are malformed.
        UnsupportedProgramError: It uses operations without a kernel, all of which are named.
        UnknownNameError: No such mode.
    """

    def __init__(self, package: Package, mode: Mode = "declared", chunk: int = DEFAULT_CHUNK) -> None:
        if mode not in get_args(Mode):
            raise UnknownNameError("executor mode", mode, get_args(Mode))
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}, must be at least 1")
        self.mode, self._file = mode, package.model_path
        self._chunk = chunk if mode == "fp16acc" else 0
        program = read_program(package)
        if missing := unknown(program.kinds):
            raise UnsupportedProgramError(self._file, missing, KERNELS)
        self.inputs, self.outputs = program.inputs, program.outputs
        self._plan = make_plan(program, self._file)

    @torch.no_grad()
    def run(
        self, feeds: Mapping[str, npt.NDArray[Any]], observer: Observer | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Execute the program once.

        Args:
            feeds: Input name -> array of the declared shape.
            observer: Sees every result.

        Returns:
            Output name -> array; floating point ones are float32.

        Raises:
            ValueError: An input is absent, or has another shape than declared.
            BundleError: An operation cannot take its operands, or a result contradicts its declaration.
        """
        values = self._fed(feeds)
        for step in self._plan.steps:
            for name, value in self._results(step, values).items():
                if observer is not None:
                    observer(step.operation.kind, name, value)
                values[name] = value
            for name in step.finished:
                del values[name]
        found = {name: values.get(name, self._plan.constants.get(name)) for name in self.outputs}
        return {name: value.numpy() for name, value in found.items() if isinstance(value, Tensor)}

    def _fed(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, declared in self.inputs.items():
            if name not in feeds:
                raise ValueError(f"no input {name!r}; given: {', '.join(feeds) or 'none'}")
            array = np.array(feeds[name])
            if not _matches(declared.shape, array.shape):
                raise ValueError(f"input {name!r} has shape {array.shape}, declared is {declared.shape}")
            values[name] = self._rounded(torch.from_numpy(array), declared.dtype)
        return values

    def _results(self, step: Step, values: Mapping[str, Value]) -> dict[str, Tensor]:
        resolved = {
            key: tuple(values[a.name] if isinstance(a, Reference) else a for a in arguments)
            for key, arguments in step.operands.items()
        }
        outputs = step.operation.outputs
        declared = tuple(outputs.values())
        chunk = self._chunk if declared[0].dtype == "fp16" else 0
        operands = Operands(resolved, tuple(output.shape for output in declared), chunk)
        found = compute(step.operation, lambda: step.kernel(operands), self._file)
        results: dict[str, Tensor] = {}
        for (name, output), value in zip(outputs.items(), found, strict=True):
            self._check_shape(step.operation, name, output, value)
            results[name] = self._rounded(value, output.dtype)
        return results

    def _check_shape(self, operation: Operation, name: str, declared: TensorType, value: Tensor) -> None:
        if not _matches(declared.shape, tuple(value.shape)):
            raise BundleError(
                self._file,
                f"operation {operation.kind} {name!r} yields shape {list(value.shape)}, declares "
                f"{list(declared.shape)}",
            )

    def _rounded(self, value: Tensor, dtype: str) -> Tensor:
        if dtype == "fp16" and self.mode != "float32":
            return value.half().float()
        # Sub-byte integers stay in the whole bytes that hold them.
        return value.to(_TORCH.get(dtype, value.dtype))


def _matches(declared: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    return len(declared) == len(found) and all(
        d is None or d == f for d, f in zip(declared, found, strict=True)
    )
