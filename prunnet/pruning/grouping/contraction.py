"""Rules for operations that sum over products: convolutions, linear layers, matrix products, attention."""

from __future__ import annotations

from torch import Tensor

from prunnet.pruning.grouping.call import Call, Operand, Rule, UnknownCaseError, channels_at
from prunnet.pruning.grouping.labels import NOTHING, Labels, Numbers, aligned, along, varying, without

_COLOURS = "tied to the input's colours, or to another dimension that no weights make"


def _convolution(call: Call) -> Labels:
    x, weight = call["input"], call["weight"]
    groups = call.arguments.get("groups", 1)
    made, reads = (1, 0) if call.arguments.get("transposed", False) else (0, 1)
    spatial = range(2, x.ndim)
    passing = []
    for array in call.labels(x):
        if any(array.shape[d] > 1 for d in spatial) or (array.shape[0] > 1 and array.shape[1] > 1):
            call.book.keep(array, f"mixed along another dimension by {call.place}")
        elif array.shape[1] == 1:
            passing.append(array)
    channels = _only(call, x, 1)
    labels = call.labels(weight)
    for array in labels:
        if any(array.shape[d] > 1 for d in range(2, weight.ndim)):
            call.book.keep(array, f"the kernel's size in {call.place}")
    out, inner = _only(call, weight, made), _only(call, weight, reads)
    if groups == 1:
        _consume(call, channels, inner)
    else:
        out = _grouped(call, channels, out if made == 0 else inner, inner if made == 0 else out, x, groups)
    if out is None:
        return tuple(passing)
    call.book.made.append(out)
    bias = call.arguments.get("bias")
    shaped = channels_at(out, 1, x.ndim)
    operands: list[Operand] = [((shaped,), [len(out) if d == 1 else 1 for d in range(x.ndim)], None)]
    if bias is not None:
        arrays = tuple(channels_at(a, 1, x.ndim) for a in call.labels(bias))
        operands.append((arrays, [len(bias) if d == 1 else 1 for d in range(x.ndim)], None))
    return call.book.merge([*call.blend(operands, f"a bias of full width in {call.place}"), *passing])


def _only(call: Call, tensor: Tensor, dim: int) -> Numbers | None:
    """Return the 1-D labels of one dimension; what changes along others too is tied along those."""
    array = along(call.labels(tensor), dim)
    if array is None:
        return None
    others = [d for d in varying(array) if d != dim]
    return call.book.tie(array, others, f"mixed by {call.place}").reshape(-1)


def _consume(call: Call, channels: Numbers | None, inner: Numbers | None) -> None:
    """Let weights read channels."""
    if channels is not None and inner is not None:
        call.book.join(channels, inner)
        call.book.read.append(inner)
    elif inner is not None:
        call.book.keep(inner, _COLOURS)
    elif channels is not None:
        call.book.keep(channels, f"read by weights of full width in {call.place}")


def _grouped(
    call: Call, channels: Numbers | None, rows: Numbers | None, inner: Numbers | None, x: Tensor, groups: int
) -> Numbers | None:
    """Tie each block of a grouped convolution; a depthwise one goes with its channels.

    Args:
        call: The convolution.
        channels: Of the input.
        rows: The weight's dimension 0: outputs, or inputs of a transposed convolution.
        inner: The weight's dimension 1, within a block.
        x: The input.
        groups: How many blocks.

    Returns:
        Labels of the outputs.
    """
    if inner is not None:
        call.book.keep(inner, f"counts within a block of a grouped convolution, {call.place}")
    if channels is None or rows is None:
        for array in (channels, rows):
            if array is not None:
                call.book.keep(array, _COLOURS)
        return rows
    call.book.size(call.module, groups, channels.reshape(groups, -1)[:, :1], 0)
    why = f"goes in blocks of the grouped convolution {call.module}"
    first = call.book.tie(channels.reshape(groups, -1), [1], why)
    own = call.book.tie(rows.reshape(groups, -1), [1], why)
    call.book.join(first, own)
    if call.arguments.get("transposed", False):
        return first.repeat(call.out.shape[1] // groups, axis=1).reshape(-1)
    return rows


def _linear(call: Call) -> Labels:
    x, weight, bias = call["input"], call["weight"], call.arguments.get("bias")
    if x.ndim == 1 or weight.ndim == 1:
        raise UnknownCaseError("a single vector")
    labels = tuple(a.T for a in call.labels(weight))
    found = product(call, x, (labels, tuple(weight.shape[::-1]), None), call.is_weight(weight))
    if bias is None:
        return found
    return call.blend(
        [(found, call.out.shape, None), call.operand(bias)], f"a bias of full width in {call.place}"
    )


def _addmm(call: Call) -> Labels:
    a, b = (call["mat1"], call["mat2"]) if "mat1" in call.arguments else (call["batch1"], call["batch2"])
    found = product(call, a, call.operand(b), call.is_weight(b))
    return call.blend(
        [(found, call.out.shape, None), call.operand(call["self"])], f"a bias of full width in {call.place}"
    )


def _mm(call: Call) -> Labels:
    a = call["self"]
    b = next(call[n] for n in ("mat2", "other", "vec") if n in call.arguments)
    if a.ndim == 1:
        raise UnknownCaseError("a vector on the left")
    if b.ndim == 1:
        column = (tuple(x[:, None] for x in call.labels(b)), (*b.shape, 1), None)
        return tuple(x[..., 0] for x in product(call, a, column, call.is_weight(b)))
    return product(call, a, call.operand(b), call.is_weight(b))


def product(call: Call, a: Tensor, b: Operand, weight: bool) -> Labels:
    """Return the labels of a matrix product [..., n, k] x [..., k, m].

    If one side is weights, they read the other's channels along k. If neither is, nothing that reads could be left out:
    all of k goes as a whole.

    Args:
        call: The operation.
        a: The left side.
        b: The right side.
        weight: Whether the right side is weights.
    """
    rank = max(a.ndim, len(b[1]))
    left = tuple(aligned(x, rank) for x in call.labels(a))
    right = tuple(aligned(x, rank) for x in b[0])
    of_a, of_b = along(left, rank - 1), along(right, rank - 2)
    if weight or call.is_weight(a):
        channels = None if of_a is None else of_a.swapaxes(-1, -2)  # [..., k, 1 or n]
        if channels is not None and channels.shape[-1] > 1:
            channels = call.book.tie(channels, [rank - 1], f"mixed by {call.place}")
        inner = None if of_b is None else of_b
        if inner is not None and inner.shape[-1] > 1:
            inner = call.book.tie(inner, [rank - 1], f"mixed by {call.place}")
        made = along(right, rank - 1) if weight else along(left, rank - 2)
        if weight:
            _consume(call, channels, inner)
        else:
            _consume(call, inner, channels)
        if made is not None:
            call.book.made.append(made)
    else:
        why = f"summed over by {call.place}"
        for side, dim in ((of_a, rank - 1), (of_b, rank - 2)):
            if side is not None:
                call.book.tie(side, [dim], why)
    cut_a = tuple(without(x, [rank - 1]) for x in left)
    cut_b = tuple(without(x, [rank - 2]) for x in right)
    return call.blend(
        [
            (_real(cut_a), (*a.shape[:-1], 1), a.stride()),
            (_real(cut_b), (*b[1][:-2], 1, b[1][-1]), b[2]),
        ],
        f"multiplied by something of full width in {call.place}",
    )


def _real(labels: Labels) -> Labels:
    return tuple(x for x in labels if x.size > 1)


def _attention(call: Call) -> Labels | list[Labels]:
    """Scaled dot products: the channels within a head go as a whole, and its queries, keys and values together."""
    query, key, value = call["query"], call["key"], call["value"]
    if call.arguments.get("enable_gqa", False):
        raise UnknownCaseError("several queries share a key")
    why = f"summed over by the attention in {call.module}"
    rest: list[Operand] = []
    for t in (query, key):
        for array in call.labels(t):
            call.book.tie(array, [t.ndim - 1], why)
        labels = _real(tuple(without(a, [t.ndim - 1]) for a in call.labels(t)))
        if t is key:
            for array in labels:
                call.book.tie(array, [t.ndim - 2], why)
            labels = _real(tuple(without(a, [t.ndim - 2]) for a in labels))
        wide = t.shape[:-2] + ((t.shape[-2], 1) if t is query else (1, 1))
        rest.append((labels, wide, t.stride()))
    mask = call.arguments.get("attn_mask", call.arguments.get("attn_bias"))
    if mask is not None:
        for array in call.labels(mask):
            call.book.tie(array, [mask.ndim - 1], why)
        labels = _real(tuple(without(a, [mask.ndim - 1]) for a in call.labels(mask)))
        rest.append((labels, (*mask.shape[:-1], 1), mask.stride()))
    for array in call.labels(value):
        call.book.tie(array, [value.ndim - 2], why)
    labels = _real(tuple(without(a, [value.ndim - 2]) for a in call.labels(value)))
    found = call.blend(
        [*rest, (labels, (*value.shape[:-2], 1, value.shape[-1]), value.stride())],
        f"attended to together with something of full width in {call.place}",
    )
    return [found] + [NOTHING] * (len(call.out) - 1) if isinstance(call.out, list | tuple) else found


RULES: dict[str, Rule] = {
    **dict.fromkeys(("aten::convolution", "aten::_convolution", "aten::convolution_overrideable"), _convolution),
    **dict.fromkeys(("aten::addmm", "aten::baddbmm"), _addmm),
    **dict.fromkeys(("aten::mm", "aten::bmm", "aten::mv", "aten::matmul"), _mm),
    **dict.fromkeys(
        (
            "aten::scaled_dot_product_attention", "aten::_scaled_dot_product_flash_attention_for_cpu",
            "aten::_scaled_dot_product_flash_attention", "aten::_scaled_dot_product_efficient_attention",
            "aten::_scaled_dot_product_cudnn_attention",
        ),
        _attention,
    ),
    "aten::linear": _linear,
}  # fmt: skip
