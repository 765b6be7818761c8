"""Writes MIL programs of single operations to real packages, with coremltools' own builder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exporters.targets.mlprogram.coremltools_import import coremltools

Arrays = dict[str, Any]
"""Parameter -> array, or a tuple of arrays where the operation takes a list."""


@dataclass(frozen=True)
class Case:
    """One operation on one set of operands.

    `feeds` are inputs of the program, `fixed` are constants in it; `expected` gets the feeds in order and
    returns an array, or a tuple of them.
    """

    op: str
    feeds: Arrays
    expected: Callable[..., Any]
    fixed: dict[str, Any] = field(default_factory=dict)
    opset: str = "iOS17"

    @property
    def wanted(self) -> list[np.ndarray]:
        found = self.expected(*self.feeds.values())
        return [np.asarray(f) for f in (found if isinstance(found, tuple) else (found,))]


def flat(index: int, feeds: Arrays) -> dict[str, np.ndarray]:
    """Name every single array of a case."""
    named = {}
    for key, value in feeds.items():
        for position, array in enumerate(value if isinstance(value, tuple) else (value,)):
            named[f"c{index}_{key}_{position}"] = array
    return named


def write(cases: list[Case], path: Path) -> None:
    """Write one program with an output `o<case>_<result>` for each result of each case; all of one opset."""
    ct = coremltools()
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program, types

    target = getattr(ct.target, cases[0].opset)
    arrays = {name: a for index, case in enumerate(cases) for name, a in flat(index, case.feeds).items()}
    placeholders = {
        name: Builder.placeholder(shape=a.shape, dtype=types.int32 if a.dtype == np.int32 else types.fp32)
        for name, a in arrays.items()
    }
    with Function(placeholders, opset_version=target) as function:
        outputs = []
        for index, case in enumerate(cases):
            operands = {}
            for key, value in case.feeds.items():
                names = flat(index, {key: value})
                bound = tuple(_input(Builder, function, name, a) for name, a in names.items())
                operands[key] = bound if isinstance(value, tuple) else bound[0]
            results = getattr(Builder, case.op)(**operands, **case.fixed)
            for position, result in enumerate(results if isinstance(results, tuple | list) else [results]):
                outputs.append(_output(Builder, types, result, f"o{index}_{position}"))
        function.set_outputs(outputs)
    program = Program()
    program.add_function("main", function)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(path))


def inferred(case: Case) -> list[np.ndarray | None]:
    """Let coremltools compute the case on constants; None where it has no value inference."""
    ct = coremltools()
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function

    with Function({}, opset_version=getattr(ct.target, case.opset)):
        # Copies, because some of coremltools' inferences (clamped_relu) write into their operands.
        operands = {
            key: tuple(Builder.const(val=v.copy()) for v in value)
            if isinstance(value, tuple)
            else Builder.const(val=value.copy())
            for key, value in case.feeds.items()
        }
        results = getattr(Builder, case.op)(**operands, **case.fixed)
        found = results if isinstance(results, tuple | list) else [results]
        return [None if r.val is None else np.asarray(r.val) for r in found]


def _input(builder: Any, function: Any, name: str, array: np.ndarray) -> Any:
    """Return the input; a program takes no booleans, so those come as numbers."""
    variable = function.inputs[name]
    return builder.cast(x=variable, dtype="bool") if array.dtype == bool else variable


def _output(builder: Any, types: Any, variable: Any, name: str) -> Any:
    """Return the output under a name; a program gives no booleans and no 8-bit integers."""
    if variable.dtype not in (types.fp32, types.int32):
        return builder.cast(x=variable, dtype="int32", name=name)
    return builder.identity(x=variable, name=name)
