"""Rules for operations that move elements: views, permutations, parts, joins, padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prunnet.pruning.grouping.call import Call, Rule, UnknownCaseError, as_numbers, as_tensor, positive
from prunnet.pruning.grouping.labels import NOTHING, Labels, Numbers, along, reshaped, tidy, varying, without


def _same(call: Call) -> Labels:
    return call.labels(call.tensors()[0])


def _same_shape(call: Call) -> Labels:
    tensor = call["self"]
    if tuple(call["size"]) == tuple(tensor.shape):
        return call.labels(tensor)
    raise UnknownCaseError("of another shape")


def unknown(call: Call) -> list[Labels]:
    """Keep everything that an operation reads; what it returns has no labels."""
    for tensor in call.tensors():
        for array in call.labels(tensor):
            call.book.keep(array, f"read by {call.place}, which is not understood")
    return [NOTHING] * 8


def _reshape(call: Call) -> Labels:
    old, new = tuple(call["self"].shape), tuple(call.out.shape)
    result: list[Numbers] = []
    for array in sorted(call.labels(call["self"]), key=lambda a: varying(a)[0]):
        moved = reshaped(array, old, new)
        if any(set(varying(moved)) & set(varying(other)) for other in result):
            # Each position would belong to two channels at once, say a head and a channel within all heads.
            call.book.keep(array, f"laid out within other channels by {call.place}")
        else:
            result.append(moved)
    labels = call.book.merge(result)
    for array in labels:
        for d in varying(array):
            call.asked(array, d)
    return labels


def _permute(call: Call) -> Labels:
    rank = call["self"].ndim
    order = [positive(d, rank) for d in call["dims"]]
    return tuple(np.transpose(a, order) for a in call.labels(call["self"]))


def _transpose(call: Call) -> Labels:
    rank = call["self"].ndim
    if rank < 2 and "dim0" not in call.arguments:
        return call.labels(call["self"])
    first, second = (positive(call.arguments.get(n, d), rank) for n, d in (("dim0", 0), ("dim1", 1)))
    return tuple(np.swapaxes(a, first, second) for a in call.labels(call["self"]))


def _expand(call: Call) -> Labels:
    rank = call.out.ndim
    labels = tuple(a.reshape((1,) * (rank - a.ndim) + a.shape) for a in call.labels(call["self"]))
    for array in labels:
        for d in varying(array):
            if call.arguments.get("size", [-1] * rank)[d] != -1:
                call.asked(array, d)
    return labels


def _squeeze(call: Call) -> Labels:
    old, new = tuple(call["self"].shape), tuple(call.out.shape)
    return tuple(reshaped(a, old, new) for a in call.labels(call["self"]))


def _parts(call: Call) -> list[Labels]:
    """Split: equal parts lose the same positions, so that code that splits evenly still fits."""
    tensor, dim = call["self"], positive(call["dim"], call["self"].ndim)
    array = along(call.labels(tensor), dim)
    sizes = [part.shape[dim] for part in call.out]
    if array is not None:
        if len(set(sizes)) == 1:
            tie_parts(call, array, dim, sizes[0])
        for start, size in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
            _asked_part(call, array, dim, int(start), int(start) + size)
    starts = np.cumsum([0, *sizes])
    return [_part(call.labels(tensor), dim, slice(int(a), int(b))) for a, b in itertools.pairwise(starts)]


def tie_parts(call: Call, array: Numbers, dim: int, size: int) -> None:
    """Tie position i of every part of `size` positions of one dimension."""
    blocks = array.reshape(*array.shape[:dim], -1, size, *array.shape[dim + 1 :])
    call.book.tie(blocks, [dim], f"cut into equal parts by {call.place}")


def _asked_part(call: Call, array: Numbers, dim: int, start: int, stop: int) -> None:
    for value, part in ((stop - start, slice(start, stop)), (start, slice(start)), (stop, slice(stop))):
        if value:
            call.asked(array[(slice(None),) * dim + (part,)], dim, value)


def _part(labels: Labels, dim: int, part: slice) -> Labels:
    return tidy(a[(slice(None),) * dim + (part,)] if a.shape[dim] > 1 else a for a in labels)


def _slice(call: Call) -> Labels:
    tensor = call["self"]
    dim, whole = positive(call["dim"], tensor.ndim), tensor.shape[positive(call["dim"], tensor.ndim)]
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(whole)
    array = along(call.labels(tensor), dim)
    size = call.out.shape[dim]
    if array is not None and size < whole:
        if step > 1:
            call.book.keep(array, f"every {step}th channel is taken by {call.place}")
        elif size and whole % size == 0 and start % size == 0:
            tie_parts(call, array, dim, size)
        _asked_part(call, array, dim, start, stop)
    return _part(call.labels(tensor), dim, slice(start, stop, step))


def _select(call: Call) -> Labels:
    tensor = call["self"]
    dim = positive(call["dim"], tensor.ndim)
    index = call["index"] % tensor.shape[dim]
    return _selected(call, tensor, dim, index)


def _selected(call: Call, tensor: Tensor, dim: int, index: int) -> Labels:
    result = []
    for array in call.labels(tensor):
        call.book.tie(array, [dim], f"single entries are taken by {call.place}")
        result.append(np.squeeze(array.take([index if array.shape[dim] > 1 else 0], axis=dim), axis=dim))
    return tidy(result)


def _unbind(call: Call) -> list[Labels]:
    tensor = call["self"]
    dim = positive(call["dim"], tensor.ndim)
    return [_selected(call, tensor, dim, i) for i in range(tensor.shape[dim])]


def _cat(call: Call) -> Labels:
    tensors = [t for t in call["tensors"] if t.numel()]
    return joined(call, tensors, positive(call["dim"], call.out.ndim))


def joined(call: Call, tensors: Sequence[Tensor], dim: int) -> Labels:
    """Return the labels of tensors that are put one behind the other."""
    across = [tuple(a for a in call.labels(t) if a.shape[dim] == 1) for t in tensors]
    others = [tuple(1 if d == dim else n for d, n in enumerate(t.shape)) for t in tensors]
    why = f"joined to something of full width by {call.place}"
    labels = call.blend([(a, s, t.stride()) for a, s, t in zip(across, others, tensors, strict=True)], why)
    pieces = [along(call.labels(t), dim) for t in tensors]
    if all(p is None for p in pieces):
        return labels
    filled = [
        np.broadcast_to(
            call.book.constant(why).reshape((1,) * t.ndim) if p is None else p,
            [t.shape[dim] if d == dim else 1 if p is None else p.shape[d] for d in range(t.ndim)],
        )
        for p, t in zip(pieces, tensors, strict=True)
    ]
    shape = np.broadcast_shapes(*(without(f, [dim]).shape for f in filled))
    wide = [
        np.broadcast_to(f, [n if d != dim else f.shape[dim] for d, n in enumerate(shape)]) for f in filled
    ]
    return call.book.merge([*labels, np.concatenate(wide, axis=dim)])


def _stack(call: Call) -> Labels:
    dim = positive(call["dim"], call.out.ndim)
    raised = []
    for t in call["tensors"]:
        shape = (*t.shape[:dim], 1, *t.shape[dim:])
        arrays = tuple(np.expand_dims(a, dim) for a in call.labels(t))
        raised.append((arrays, shape, None))
    return call.blend(raised, f"stacked on something of full width by {call.place}")


def _pad(call: Call) -> Labels:
    tensor, pad = call["self"], list(call["pad"])
    amounts = [(0, 0)] * tensor.ndim
    for back in range(len(pad) // 2):
        amounts[tensor.ndim - 1 - back] = (pad[2 * back], pad[2 * back + 1])
    result = []
    for array in call.labels(tensor):
        inner = [a if array.shape[d] > 1 else (0, 0) for d, a in enumerate(amounts)]
        if any(a != (0, 0) for a in inner):
            filler = call.book.constant(f"padded with constants by {call.place}")
            cropped = array[
                tuple(slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(inner, array.shape, strict=True))
            ]
            array = np.pad(
                cropped, [(max(0, a), max(0, b)) for a, b in inner], constant_values=int(filler[0])
            )
        result.append(array)
    return call.book.merge(result)


def _repeat(call: Call) -> Labels:
    repeats, rank = list(call["repeats"]), call.out.ndim
    result = []
    for array in call.labels(call["self"]):
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        result.append(np.tile(array, [r if n > 1 else 1 for r, n in zip(repeats, array.shape, strict=True)]))
    return call.book.merge(result)


def _pixel_shuffle(call: Call) -> Labels:
    *_, channels, _, _ = call["self"].shape
    array, factor = along(call.labels(call["self"]), call["self"].ndim - 3), call["upscale_factor"] ** 2
    result = [a for a in call.labels(call["self"]) if a is not array]
    if array is not None:
        blocks = array.reshape(*array.shape[:-3], channels // factor, factor, 1, 1)
        first = call.book.tie(blocks, [blocks.ndim - 3], f"spread over pixels by {call.place}")
        result.append(first.squeeze(axis=blocks.ndim - 3))
    return call.book.merge(result)


def _pixel_unshuffle(call: Call) -> Labels:
    array, factor = along(call.labels(call["self"]), call["self"].ndim - 3), call["downscale_factor"] ** 2
    result = [a for a in call.labels(call["self"]) if a is not array]
    if array is not None:
        result.append(np.repeat(array, factor, axis=array.ndim - 3))
    return call.book.merge(result)


def _index(call: Call) -> Labels:
    """Take entries along some dimensions by tables: those dimensions keep their size."""
    tensor, indices = call["self"], list(call["indices"])
    named = [d for d, index in enumerate(indices) if index is not None]
    if any(i is not None and (call.labels(i) or i.dtype == torch.bool) for i in indices):
        raise UnknownCaseError("by a computed index, or a mask")
    result = []
    for array in call.labels(tensor):
        for left in call.limited(array, named, f"indexed by {call.place}"):
            moved = [None if i is None else i.cpu() for i in indices]
            result.append(as_numbers(torch.ops.aten.index.Tensor(as_tensor(left, tensor.shape), moved)))
    return call.book.merge(result)


def _moved(call: Call) -> Labels:
    """Flip or roll: dimensions along which elements move keep their size."""
    dims = call["dims"] if call.name == "aten::flip" else call["dims"] or range(call["self"].ndim)
    result: list[Numbers] = []
    for array in call.labels(call["self"]):
        result += call.limited(array, [positive(d, array.ndim) for d in dims], f"moved by {call.place}")
    return tuple(result)


def _as_strided(call: Call) -> Labels:
    if tuple(call["size"]) == tuple(call["self"].shape):
        return call.labels(call["self"])
    raise UnknownCaseError("of another shape")


def _embedding(call: Call) -> Labels:
    for array in call.labels(call["weight"]):
        if array.shape[0] > 1:
            call.book.keep(array, f"indexed by {call.place}")
    arrays = [a for a in call.labels(call["weight"]) if a.shape[0] == 1]
    return tuple(a.reshape((1,) * (call.out.ndim - 1) + (-1,)) for a in arrays)


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "aten::clone", "aten::alias", "aten::detach", "aten::contiguous", "aten::_to_copy", "aten::to",
            "aten::lift_fresh", "aten::dropout", "aten::zeros_like", "aten::ones_like", "aten::full_like",
            "aten::empty_like", "aten::rand_like", "aten::randn_like", "aten::_conj", "aten::resolve_conj",
            "aten::bernoulli", "aten::zero_", "aten::fill_", "aten::dequantize", "aten::detach_",
        ),
        _same,
    ),
    **dict.fromkeys(("aten::new_zeros", "aten::new_ones", "aten::new_empty", "aten::new_full"), _same_shape),
    **dict.fromkeys(
        ("aten::view", "aten::_unsafe_view", "aten::reshape", "aten::unflatten", "aten::flatten"), _reshape
    ),
    **dict.fromkeys(("aten::squeeze", "aten::unsqueeze", "aten::squeeze_", "aten::unsqueeze_"), _squeeze),
    **dict.fromkeys(("aten::t", "aten::transpose", "aten::swapaxes", "aten::numpy_T"), _transpose),
    **dict.fromkeys(("aten::split", "aten::split_with_sizes", "aten::chunk"), _parts),
    **dict.fromkeys(("aten::as_strided", "aten::as_strided_"), _as_strided),
    **dict.fromkeys(("aten::flip", "aten::roll"), _moved),
    "aten::permute": _permute,
    "aten::expand": _expand,
    "aten::slice": _slice,
    "aten::select": _select,
    "aten::unbind": _unbind,
    "aten::cat": _cat,
    "aten::stack": _stack,
    "aten::constant_pad_nd": _pad,
    "aten::repeat": _repeat,
    "aten::pixel_shuffle": _pixel_shuffle,
    "aten::pixel_unshuffle": _pixel_unshuffle,
    "aten::index": _index,
    "aten::embedding": _embedding,
}  # fmt: skip
