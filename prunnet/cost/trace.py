"""Traces a module into a cost graph by running it on meta tensors: shapes only, no arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prunnet.cost.builder import Call, GraphBuilder, Operand
from prunnet.cost.fusion import fuse
from prunnet.cost.graph import CostGraph
from prunnet.cost.rules import BATCH_NORMS
from prunnet.errors import EncoderError
from prunnet.torch_fixes.compiler import compiler_put_off

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_ZEROS: Mapping[str, int] = MappingProxyType({})


def trace(
    module: nn.Module, input_shape: tuple[int, int, int], zeros: Mapping[str, int] = NO_ZEROS
) -> CostGraph:
    """Return the cost graph of a module for one image.

    The module may live on any device, meta included; it is not changed and nothing is computed.

    Args:
        module: Encoder in eval mode, float32 [1, 3, H, W] in.
        input_shape: (3, H, W) in pixels.
        zeros: How many weights of a parameter a mask sets to zero, by its name in the module.

    Raises:
        EncoderError: The module cannot run on shapes alone, or is in training mode.
    """
    import torch

    if module.training:
        raise EncoderError(f"{type(module).__name__} is in training mode: call .eval() before it is costed")
    failed: Exception | None = None
    # Once more for a network that makes tensors without saying where, as in `torch.eye(4)`; not at once, since then it
    # could not read their values.
    for place in (nullcontext(), torch.device("meta")):
        try:
            return _traced(module, input_shape, zeros, place)
        except EncoderError:
            raise
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            failed = error
    raise EncoderError(
        f"{type(module).__name__} cannot be traced at {input_shape}: {failed}. Check the image size, and "
        "that no layer reads tensor values or keeps plain tensors that are neither parameters nor buffers"
    ) from failed


def _traced(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    zeros: Mapping[str, int],
    place: AbstractContextManager[object],
) -> CostGraph:
    import torch
    from torch.func import functional_call

    state = {name: _as_meta(tensor) for name, tensor in _tensors_of(module).items()}
    image = torch.empty((1, *input_shape), device="meta")
    learnt = _learnt_of(module, state)
    masked = {_operand(state[name]).storage: count for name, count in zeros.items()}
    recorder = _recorder(learnt, masked, image)
    with torch.no_grad(), compiler_put_off(), recorder, place:
        result = functional_call(module, state, (image,))
    results = result if isinstance(result, tuple | list) else (result,)
    return fuse(recorder.builder.finish(tuple(_operand(tensor) for tensor in results)))


def _tensors_of(module: nn.Module) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    named.update(module.named_parameters(remove_duplicate=False))
    named.update(module.named_buffers(remove_duplicate=False))
    return named


def _as_meta(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.is_meta else tensor.detach().to("meta")


def _learnt_of(module: nn.Module, state: dict[str, Tensor]) -> dict[int, tuple[int, bool]]:
    """Storage -> (elements, learnt). Tied tensors get the storage of their first name."""
    first: dict[int, str] = {}
    for name, tensor in _tensors_of(module).items():
        state[name] = state[first.setdefault(id(tensor), name)]
    learnt = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {_operand(tensor).storage: (tensor.numel(), name in learnt) for name, tensor in state.items()}


def _operand(tensor: Tensor) -> Operand:
    return Operand(tensor.untyped_storage()._cdata, tuple(tensor.shape))


def _name(func: Any, args: tuple[Any, ...]) -> str:
    """Return an operation's name; InstanceNorm runs as a BatchNorm that takes its statistics from the picture."""
    name: str = func.overloadpacket.__name__.removesuffix("_")
    return "_native_batch_norm_legit" if name in BATCH_NORMS and args[5:6] == (True,) else name


def _recorder(constants: dict[int, tuple[int, bool]], masked: dict[int, int], image: Tensor) -> Any:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Hands every aten call to the builder, and keeps its tensors alive so that no storage is reused."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.builder = GraphBuilder(_operand(image), constants, masked)
            self.alive: list[Any] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            self.alive += inputs + outputs
            name = _name(func, args)
            convolution = name == "convolution"
            if outputs:
                self.builder.add(
                    Call(
                        name=name,
                        inputs=tuple(map(_operand, inputs)),
                        outputs=tuple(map(_operand, outputs)),
                        mutates=func._schema.is_mutable,
                        groups=args[8] if convolution else 1,
                        transposed=args[6] if convolution else False,
                    )
                )
            return result

    return Recorder()
