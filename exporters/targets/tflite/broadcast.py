"""Takes expansions of feature maps out of a network before LiteRT's converter sees it.

`litert_torch` moves networks from NCHW to NHWC. An expanded map (`expand_as`, as in many squeeze-and-excite blocks)
between two convolutions comes out of that wrong: where height, width and channels differ the conversion fails, where
they are the same the artifact computes something else. Arithmetic broadcasts, so the expansion is not needed there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.targets.retraced import kind_of, rewritten, shape_of

if TYPE_CHECKING:
    import torch

_EXPANSIONS = ("expand", "expand_as", "repeat")
_BROADCASTING = ("add", "sub", "mul", "div", "maximum", "minimum", "pow", "where")
"""Operations that give the same with an operand that is not expanded, if another one has the full shape."""


def without_expansions(module: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """Return a module that computes the same without expanded maps; the module itself if it has none.

    Args:
        module: Takes `example`.
        example: float32 [1, 3, H, W].
    """
    return rewritten(module, example, _expands_a_map, _replace)


def _expands_a_map(node: Any) -> bool:
    if kind_of(node) not in _EXPANSIONS or len(shape_of(node)) != 4:
        return False
    before = shape_of(node.args[0])
    grown = [old for old, new in zip(before, shape_of(node), strict=False) if old != new]
    return len(before) == 4 and bool(grown) and all(old == 1 for old in grown)


def _replace(graph: Any, node: Any) -> None:
    import torch

    source, wanted = node.args[0], shape_of(node)
    for user in list(node.users):
        others = [each for each in user.all_input_nodes if each is not node]
        if (
            kind_of(user) in _BROADCASTING
            and shape_of(user) == wanted
            and any(shape_of(o) == wanted for o in others)
        ):
            user.replace_input_with(node, source)
    if not node.users:
        graph.erase_node(node)
        return
    with graph.inserting_before(node):
        plain = source
        if shape_of(source)[1] != wanted[1]:
            plain = graph.call_function(torch.ops.aten.cat.default, ([plain] * wanted[1], 1))
        if shape_of(source)[2:] != wanted[2:]:
            plain = graph.call_function(
                torch.ops.aten.upsample_nearest2d.vec, (plain, list(wanted[2:]), None)
            )
    node.replace_all_uses_with(plain)
    graph.erase_node(node)
