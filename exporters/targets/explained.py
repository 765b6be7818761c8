"""Says which operation of a network a toolchain failed at, where it stands, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prunnet.errors import first_of

if TYPE_CHECKING:
    import torch

_REMEDIES = {
    "upsample_bicubic2d": "interpolate bilinearly",
    "im2col": "write F.unfold as a convolution",
    "unfold": "write the windows as slices or a convolution",
    "grid_sampler_2d": "sample on a fixed grid with F.interpolate",
    "_adaptive_avg_pool2d": "choose an output size that divides the feature map's, or avg_pool2d with a stride",
    "adaptive_max_pool2d": "choose an output size that divides the feature map's, or max_pool2d with a stride",
    "expand": "leave the expansion out: arithmetic broadcasts",
    "clamp": "write F.relu(x) + eps for clamp(min=eps)",
    "topk": "pool with a mean or a maximum",
    "sort": "pool with a mean or a maximum",
}
"""What to write instead of an operation, where that is known."""

_OTHERWISE = (
    "replace it in the backbone by operations that the target has, or take the target out of the profile"
)
_SHOWN = 6

MOST_NAMED = 2
"""Operations that one message is about; one with more shows a graph."""


def remedy(operation: str) -> str:
    """Say what to write instead of an operation, e.g. "sort"."""
    return _REMEDIES.get(operation, _OTHERWISE)


def explained(cause: str, error: BaseException | None, module: torch.nn.Module, example: torch.Tensor) -> str:
    """Return a toolchain's message with the operations of the network that it names, their modules and a remedy.

    Args:
        cause: What the toolchain said, in a line.
        error: Its exception; what raised that one knows best.
        module: What was to be converted.
        example: Its input.
    """
    import torch

    try:
        program = torch.export.export(module, (example,))
    except Exception as untraced:  # whatever keeps torch from tracing it is the answer
        return (
            f"{cause}. torch.export does not trace the network ({type(untraced).__name__}): its forward must not "
            "branch on values, nor leave torch's tensors"
        )
    places = operations_of(program)
    named = _named(error, places)
    if not named:
        return f"{cause}. The message names no operation of the network; it has {', '.join(sorted(places))}"
    said = [f"{name} in {first_of(places[name], _SHOWN)} ({remedy(name)})" for name in named[:_SHOWN]]
    return f"{cause}. At fault: {'; '.join(said)}"


def operations_of(program: torch.export.ExportedProgram) -> dict[str, list[str]]:
    """Return the ATen operations of a program, each with the modules that run it."""
    places: dict[str, list[str]] = {}
    for node in program.graph_module.graph.nodes:
        packet = getattr(node.target, "overloadpacket", None)
        if node.op == "call_function" and packet is not None:
            where = module_of(node)
            found = places.setdefault(packet.__name__.rstrip("_"), [])
            if where not in found:
                found.append(where)
    return places


def module_of(node: Any) -> str:
    """Return the path of the module whose forward a node of a graph comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed([str(name) for name, _ in stack.values()]), "")
    return path or "the encoder itself"


def _named(error: BaseException | None, places: dict[str, list[str]]) -> list[str]:
    """Return the operations that the innermost exception names; one that prints a whole graph names none."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for each in reversed(chain):
        named = [name for name in places if _mentions(str(each), name)]
        if 0 < len(named) <= MOST_NAMED and len(named) < len(places):
            return named
    return []


def _mentions(message: str, name: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(name.strip('_'))}(?![A-Za-z0-9])", message) is not None
