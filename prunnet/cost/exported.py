"""Costs the graph that the exporters convert: the same rules, over `torch.export` instead of a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prunnet.cost.builder import Call, GraphBuilder, Operand
from prunnet.cost.fusion import fuse
from prunnet.cost.graph import CostGraph

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def trace_exported(module: nn.Module, input_shape: tuple[int, int, int]) -> CostGraph:
    """Return the cost graph of the module as `torch.export` captures it.

    Takes seconds where `trace` takes milliseconds.

    Args:
        module: Encoder in eval mode, float32 [1, 3, H, W] in, on the CPU.
        input_shape: (3, H, W) in pixels.
    """
    import torch

    return graph_of(torch.export.export(module, (torch.zeros(1, *input_shape),)))


def graph_of(program: ExportedProgram) -> CostGraph:
    """Return the cost graph of an exported program.

    Args:
        program: One image in, batch 1.
    """
    import torch

    table = torch.export.default_decompositions()
    aten = torch.ops.aten
    # Products of vectors would fall apart into element-wise operations, which count nothing.
    for whole in (aten._safe_softmax.default, aten.mv.default, aten.dot.default, aten.vdot.default):
        table.pop(whole, None)  # type: ignore[no-untyped-call]
    program = program.run_decompositions(table)
    reader = _Reader(program)
    for node in program.graph.nodes:
        reader.read(node)
    (output,) = [node for node in program.graph.nodes if node.op == "output"]
    results = tuple(operand for argument in output.args[0] for operand in reader.operands[argument.name])
    return fuse(reader.builder.finish(results))


class _Reader:
    """Walks the nodes; the identity of a storage is a running number that views inherit."""

    builder: GraphBuilder

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        self._learnt = set(signature.inputs_to_parameters)
        self._users = set(signature.user_inputs)
        self._tied: dict[int, int] = {}
        self._named = {
            **{name: program.state_dict[key] for name, key in signature.inputs_to_parameters.items()},
            **{name: program.state_dict.get(key) for name, key in signature.inputs_to_buffers.items()},
        }
        self._constants: dict[int, tuple[int, bool]] = {}
        self.operands: dict[str, tuple[Operand, ...]] = {}
        self._next = 0

    def read(self, node: Any) -> None:
        """Take one node of the graph."""
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "call_function" and node.target.__name__ == "getitem":
            self.operands[node.name] = (self.operands[node.args[0].name][node.args[1]],)
        elif node.op == "call_function":
            self._call(node)

    def _placeholder(self, node: Any) -> None:
        value = node.meta["val"]
        tensor = self._named.get(node.name)
        storage = self._fresh() if tensor is None else self._tied.setdefault(id(tensor), self._fresh())
        operand = Operand(storage, tuple(value.shape))
        self.operands[node.name] = (operand,)
        if node.name in self._users:
            self.builder = GraphBuilder(operand, self._constants)
        else:
            self._constants[storage] = (value.numel(), node.name in self._learnt)

    def _call(self, node: Any) -> None:
        import torch
        from torch.utils._pytree import tree_leaves

        # Checks of a tensor's type, which `.float()` and `.to()` leave behind, have no result.
        values = [v for v in tree_leaves(node.meta.get("val")) if isinstance(v, torch.Tensor)]
        inputs = tuple(
            self.operands[leaf.name][0]
            for leaf in tree_leaves((node.args, node.kwargs))
            if isinstance(leaf, torch.fx.Node)
        )
        view = any(r.alias_info is not None for r in node.target._schema.returns)
        outputs = tuple(
            Operand(inputs[0].storage if view else self._fresh(), tuple(value.shape)) for value in values
        )
        self.operands[node.name] = outputs
        name = node.target.overloadpacket.__name__
        convolution = name == "convolution"
        if outputs:
            self.builder.add(
                Call(
                    name=name,
                    inputs=inputs,
                    outputs=outputs,
                    groups=node.args[8] if convolution else 1,
                    transposed=node.args[6] if convolution else False,
                )
            )

    def _fresh(self) -> int:
        self._next += 1
        return self._next
