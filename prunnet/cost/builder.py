"""Turns a stream of aten calls into cost ops; both tracers feed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from prunnet.cost.graph import CostGraph, Op
from prunnet.cost.rules import Shape, kind_of, macs_of
from prunnet.errors import EncoderError


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor argument or result: the storage it lives in and its shape."""

    storage: int
    """Identity of the memory; views share it."""
    shape: Shape


@dataclass(frozen=True, slots=True)
class Call:
    """One aten call."""

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    mutates: bool = False
    """Whether the call writes into its first argument."""
    groups: int = 1
    transposed: bool = False


@dataclass
class GraphBuilder:
    """Collects calls in execution order.

    A value computed from constants alone is a constant: converters fold it.
    """

    image: Operand
    constants: dict[int, tuple[int, bool]]
    """Storage -> (elements, whether it is learnt), of parameters and buffers."""
    masked: Mapping[int, int] = field(default_factory=dict)
    """Storage -> elements that a mask sets to zero."""
    _ops: list[Op] = field(default_factory=list)
    _tensors: list[int] = field(default_factory=list)
    _index: dict[int, int] = field(default_factory=dict)
    _stored: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._new_tensor(self.image)

    def add(self, call: Call) -> None:
        """Append one call."""
        active = [operand for operand in call.inputs if operand.storage in self._index]
        if not active:
            self._fold(call)
            return
        sources = {operand.storage for operand in call.inputs}
        if not call.mutates and all(out.storage in sources for out in call.outputs):
            return
        weight = self._weight(call)
        kind = kind_of(call.name, weight.shape if weight else None, call.groups)
        weights, biases, constants = self._store(call, weight)
        inputs = tuple(dict.fromkeys(self._index[operand.storage] for operand in active))
        reads = sum(self._tensors[index] for index in inputs)
        outputs = tuple(
            self._new_tensor(out, self._size_of(out) if call.mutates else 0) for out in call.outputs
        )
        self._ops.append(
            Op(
                name=call.name,
                kind=kind,
                macs=macs_of(
                    call.name, [o.shape for o in call.inputs], call.outputs[0].shape, call.transposed
                ),
                weights=weights,
                biases=biases,
                constants=constants,
                channels=_channels(call, kind, weights),
                inputs=inputs,
                outputs=outputs,
                input_elements=reads,
                output_elements=0,  # known when it is: of the results that are read
                zeros=self.masked.get(weight.storage, 0) if weight and weights else 0,
            )
        )

    def finish(self, results: tuple[Operand, ...]) -> CostGraph:
        """Return the unfused graph, with `results` as the activations that the module returns.

        Raises:
            EncoderError: No result depends on the picture.
        """
        returned = tuple(self._index[result.storage] for result in results if result.storage in self._index)
        if not returned:
            raise EncoderError(
                "the network's result does not depend on the picture: there is nothing to cost"
            )
        read = {*returned, *(index for op in self._ops for index in op.inputs)}
        return CostGraph(
            input_shape=self.image.shape[1:],
            ops=tuple(self._without_unread(op, read) for op in self._ops),
            tensors=tuple(self._tensors),
            results=returned,
        )

    def _without_unread(self, op: Op, read: set[int]) -> Op:
        """Return the op without results that nothing reads: no runtime makes the indices of a maximum for nobody."""
        first, *others = op.outputs
        kept = (first, *(index for index in others if index in read))
        return replace(op, outputs=kept, output_elements=sum(self._tensors[index] for index in kept))

    def _size_of(self, operand: Operand) -> int:
        """Return the elements of what an operand is a view of: writing into a part makes the whole anew."""
        if operand.storage in self._index:
            return self._tensors[self._index[operand.storage]]
        return self.constants.get(operand.storage, (0, False))[0]

    def _new_tensor(self, operand: Operand, least: int = 0) -> int:
        self._tensors.append(max(prod(operand.shape), least))
        self._index[operand.storage] = len(self._tensors) - 1
        return self._index[operand.storage]

    def _fold(self, call: Call) -> None:
        learnt = any(self.constants.get(operand.storage, (0, False))[1] for operand in call.inputs)
        for out in call.outputs:
            self.constants.setdefault(out.storage, (prod(out.shape), learnt))

    def _weight(self, call: Call) -> Operand | None:
        kind = kind_of(call.name, None, call.groups)
        if kind not in {"conv", "matmul"}:
            return None
        matrices = [
            operand for operand in call.inputs if operand.storage in self.constants and len(operand.shape) > 1
        ]
        return max(matrices, key=lambda operand: prod(operand.shape), default=None)

    def _store(self, call: Call, weight: Operand | None) -> tuple[int, int, int]:
        weights = biases = constants = 0
        for storage in dict.fromkeys(operand.storage for operand in call.inputs):
            if storage not in self.constants or storage in self._stored:
                continue
            self._stored.add(storage)
            elements, learnt = self.constants[storage]
            if weight is not None and storage == weight.storage:
                weights += elements
            elif learnt:
                biases += elements
            else:
                constants += elements
        return weights, biases, constants


def _channels(call: Call, kind: str, weights: int) -> int:
    if not weights:
        return 0
    out = call.outputs[0].shape
    return out[-1] if kind == "matmul" else out[1]
