"""An ML Program as plain values: inputs, operations in order, constants, outputs. Needs numpy, not torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime_py.errors import BundleError
from runtime_py.mil_executor.dtypes import NUMPY, PROTO_NAMES, SUB_BYTE_BITS, Array, decode
from runtime_py.mil_executor.package import Package

Constant = Array | str | tuple["Constant", ...]
"""What a program may hold as a constant: a tensor, a string, or a list of those."""


@dataclass(frozen=True)
class TensorType:
    """A declared type: MIL's name of the data type and the shape, None where a dimension is not static."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Reference:
    """An operand that an earlier operation, or an input, produces."""

    name: str


Argument = Reference | Constant


@dataclass(frozen=True)
class Operation:
    """One operation.

    Args:
        kind: Its name in MIL, e.g. "conv".
        operands: Parameter -> its arguments; more than one only where MIL takes a list (`concat.values`).
        outputs: Name -> declared type, in order.
    """

    kind: str
    operands: dict[str, tuple[Argument, ...]]
    outputs: dict[str, TensorType]


@dataclass(frozen=True)
class Program:
    """The default function of a package.

    Args:
        inputs: Name -> declared type.
        constants: Name -> value of each `const` operation.
        operations: Every other operation, in order of execution.
        outputs: Names of the results.
    """

    inputs: dict[str, TensorType]
    constants: dict[str, Constant]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    @property
    def kinds(self) -> set[str]:
        """The operations in use, without `const`."""
        return {operation.kind for operation in self.operations}


def read_program(package: Package) -> Program:
    """Read the program of a package with all its weights.

    Raises:
        BundleError: Control flow, a type that is not known, weights that do not fit their declaration, or an
            operand that nothing produces.
    """
    return _Reader(package).read()


class _Reader:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._file = package.model_path

    def read(self) -> Program:
        function = self._package.function()
        if function.opset not in function.block_specializations:
            raise BundleError(self._file, f"has no program for its own operation set {function.opset!r}")
        block = function.block_specializations[function.opset]
        inputs = {item.name: self._tensor_type(item.type, item.name) for item in function.inputs}
        constants: dict[str, Constant] = {}
        operations: list[Operation] = []
        defined = set(inputs)
        for message in block.operations:
            if message.blocks:
                raise BundleError(
                    self._file, f"uses control flow ({message.type}), which an encoder does not need"
                )
            names = [output.name for output in message.outputs]
            if not names:
                raise BundleError(self._file, f"has an operation {message.type} without a result")
            if twice := defined.intersection(names):
                raise BundleError(self._file, f"produces {min(twice)!r} twice")
            if message.type == "const":
                constants[names[0]] = self._value(message.attributes["val"], names[0])
            else:
                operation = self._operation(message)
                self._check_defined(operation, defined)
                operations.append(operation)
            defined.update(names)
        outputs = tuple(block.outputs)
        if missing := [name for name in outputs if name not in defined]:
            raise BundleError(self._file, f"returns {missing[0]!r}, which no operation produces")
        return Program(inputs, constants, tuple(operations), outputs)

    def _operation(self, message: Any) -> Operation:
        label = message.outputs[0].name
        operands: dict[str, tuple[Argument, ...]] = {
            key: tuple(
                Reference(a.name) if a.WhichOneof("binding") == "name" else self._value(a.value, label)
                for a in bound.arguments
            )
            for key, bound in message.inputs.items()
        }
        # Up to iOS17 the constexpr_* operations keep their operands in the attributes.
        for key, value in message.attributes.items():
            if key != "name":
                operands[key] = (self._value(value, label),)
        outputs = {output.name: self._tensor_type(output.type, output.name) for output in message.outputs}
        return Operation(message.type, operands, outputs)

    def _check_defined(self, operation: Operation, defined: set[str]) -> None:
        for key, arguments in operation.operands.items():
            for argument in arguments:
                if isinstance(argument, Reference) and argument.name not in defined:
                    raise BundleError(
                        self._file,
                        f"operation {operation.kind} takes {argument.name!r} as {key!r}, which nothing "
                        "before it produces",
                    )

    def _tensor_type(self, message: Any, name: str) -> TensorType:
        kind = message.WhichOneof("type")
        if kind != "tensorType":
            raise BundleError(self._file, f"{name!r} is a {kind}, not a tensor")
        tensor = message.tensorType
        if tensor.dataType not in PROTO_NAMES:
            raise BundleError(self._file, f"{name!r} has the unknown data type {tensor.dataType}")
        shape = tuple(
            int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None
            for d in tensor.dimensions
        )
        return TensorType(PROTO_NAMES[tensor.dataType], shape)

    def _value(self, message: Any, name: str) -> Constant:
        immediate = message.immediateValue
        if immediate.WhichOneof("value") in ("list", "tuple"):
            items = getattr(immediate, immediate.WhichOneof("value")).values
            return tuple(self._value(item, name) for item in items)
        declared = self._tensor_type(message.type, name)
        shape = tuple(d for d in declared.shape if d is not None)
        if len(shape) != len(declared.shape):
            raise BundleError(self._file, f"constant {name!r} has no static shape")
        if message.WhichOneof("value") == "blobFileValue":
            blob = message.blobFileValue
            return self._package.weights(blob.fileName).read(int(blob.offset), declared.dtype, shape)
        return self._immediate(immediate.tensor, declared.dtype, shape, name)

    def _immediate(self, tensor: Any, dtype: str, shape: tuple[int, ...], name: str) -> Constant:
        field = tensor.WhichOneof("value")
        raw = getattr(tensor, field).values if field else b""
        count = math.prod(shape)
        if dtype == "string":
            if shape == () and len(raw) == 1:
                return str(raw[0])
            return tuple(str(item) for item in raw)
        try:
            if isinstance(raw, bytes):
                return decode(raw, dtype, count).reshape(shape)
            return np.array(raw, NUMPY["int8" if dtype in SUB_BYTE_BITS else dtype]).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise BundleError(self._file, f"constant {name!r} is malformed: {error}") from error
