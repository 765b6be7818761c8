"""Rules for operations that mix elements along dimensions without weights: reductions, norms, pooling, resampling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from prunnet.pruning.grouping.call import Call, Rule, channels_at, dims_of, positive
from prunnet.pruning.grouping.labels import NOTHING, Labels, Numbers, along, tidy


def tied(call: Call, tensor: Tensor, dims: Iterable[int], why: str) -> Labels:
    """Tie all channels along some dimensions, which stay."""
    dims = list(dims)
    for array in call.labels(tensor):
        call.book.tie(array, dims, why)
    return call.labels(tensor)


def _reduce(call: Call) -> Labels | list[Labels]:
    tensor = call["self"]
    given = call.arguments.get("dim", call.arguments.get("dims"))
    dims = dims_of(given, tensor.ndim)
    keep = bool(call.arguments.get("keepdim", False))
    result = []
    for array in call.labels(tensor):
        first = call.book.tie(array, dims, f"all channels are mixed by {call.place}")
        result.append(first if keep else np.squeeze(first, axis=dims))
    labels = tidy(result)
    return [labels] * len(call.out) if isinstance(call.out, list | tuple) else labels


def _along_one(call: Call) -> Labels | list[Labels]:
    tensor = call["self"]
    dim = call.arguments.get("dim", -1)
    labels = tied(call, tensor, [positive(dim, tensor.ndim)], f"all channels are mixed by {call.place}")
    return [labels] * len(call.out) if isinstance(call.out, list | tuple) else labels


def _layer_norm(call: Call) -> list[Labels]:
    tensor, rank = call["input"], call["input"].ndim
    dims = range(rank - len(call["normalized_shape"]), rank)
    kind = call.kind if "Norm" in call.kind else "a layer norm"
    tied(call, tensor, dims, f"normalised over the channel axis by {kind}")
    labels = _affine(call, tensor, [call["weight"], call.arguments.get("bias")], None)  # RMSNorm has no shift
    return [labels, NOTHING, NOTHING]


def _group_norm(call: Call) -> list[Labels]:
    tensor, groups = call["input"], call["group"]
    array = along(call.labels(tensor), 1)
    if array is not None:
        blocks = array.reshape(array.shape[0], groups, -1, *array.shape[2:])
        call.book.tie(blocks, [2], f"normalised over the channel axis by {call.kind}")
        if groups > 1:
            call.book.size(call.module, groups, blocks[:, :, 0], 1)
            call.asked(array, 1)
    for other in call.labels(tensor):
        if other is not array:
            call.book.tie(other, range(2, tensor.ndim), f"normalised by {call.place}")
    return [_affine(call, tensor, [call["weight"], call["bias"]], 1), NOTHING, NOTHING]


def _batch_norm(call: Call) -> Labels | list[Labels]:
    tensor = call["input"]
    if call.arguments.get("training", False) or call.arguments.get("running_mean") is None:
        dims = [d for d in range(tensor.ndim) if d != 1]
        tied(call, tensor, dims, f"normalised over what is read by {call.place}")
    owned = [call.arguments.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    labels = _affine(call, tensor, owned, 1)
    array = along(labels, 1)
    if array is not None:
        call.asked(array, 1)
    return [labels] + [NOTHING] * (len(call.out) - 1) if isinstance(call.out, list | tuple) else labels


def _affine(call: Call, tensor: Tensor, owned: Sequence[Tensor | None], dim: int | None) -> Labels:
    """Join scales and shifts with the dimension that they belong to; None: the last ones."""
    operands = [call.operand(tensor)]
    for t in owned:
        if t is None:
            continue
        if dim is None:
            operands.append(call.operand(t))
        else:
            arrays = tuple(channels_at(a, dim, tensor.ndim) for a in call.labels(t))
            operands.append(
                (arrays, [len(t) if d == dim else 1 for d in range(tensor.ndim)], [1] * tensor.ndim)
            )
    return call.blend(operands, f"normalised by constants in {call.place}")


def _spatial(call: Call) -> Labels | list[Labels]:
    """Pool or resample the last dimensions; those in front are channels and images."""
    tensor = call.tensors()[0]
    out = call.out[0] if isinstance(call.out, list | tuple) else call.out
    count = next(n for kind, n in (("1d", 1), ("3d", 3), ("2d", 2)) if kind in call.name)
    dims = range(tensor.ndim - count, tensor.ndim)
    result: list[Numbers] = []
    for array in call.labels(tensor):
        left = call.limited(array, dims, f"mixed by {call.place}")
        result += left if out.ndim == tensor.ndim else ()
    return [tuple(result)] * len(call.out) if isinstance(call.out, list | tuple) else tuple(result)


def _weight_norm(call: Call) -> list[Labels]:
    v, g, dim = call["v"], call["g"], call["dim"]
    others = [d for d in range(v.ndim) if d != dim]
    tied(call, v, others, f"weights that are normalised by {call.place}")
    return [call.blend([call.operand(v), call.operand(g)], f"scaled by {call.place}"), NOTHING]


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "aten::mean", "aten::sum", "aten::amax", "aten::amin", "aten::var", "aten::std", "aten::prod",
            "aten::max", "aten::min", "aten::var_mean", "aten::std_mean", "aten::logsumexp", "aten::any",
            "aten::all", "aten::argmax", "aten::argmin", "aten::linalg_vector_norm", "aten::norm", "aten::nansum",
            "aten::median", "aten::aminmax",
        ),
        _reduce,
    ),
    **dict.fromkeys(
        ("aten::_softmax", "aten::softmax", "aten::_log_softmax", "aten::_safe_softmax",
            "aten::cumsum", "aten::sort", "aten::logcumsumexp"),
        _along_one,
    ),
    **dict.fromkeys(
        (
            "aten::max_pool2d_with_indices", "aten::avg_pool2d", "aten::_adaptive_avg_pool2d", "aten::max_pool2d",
            "aten::adaptive_avg_pool2d", "aten::adaptive_max_pool2d", "aten::avg_pool1d", "aten::max_pool1d",
            "aten::max_pool3d_with_indices", "aten::avg_pool3d", "aten::mkldnn_max_pool2d", "aten::adaptive_avg_pool1d",
            "aten::upsample_nearest2d", "aten::upsample_bilinear2d", "aten::upsample_bicubic2d",
            "aten::_upsample_nearest_exact2d", "aten::_upsample_bilinear2d_aa", "aten::_upsample_bicubic2d_aa",
            "aten::reflection_pad2d", "aten::replication_pad2d", "aten::reflection_pad1d", "aten::replication_pad1d",
            "aten::grid_sampler_2d", "aten::upsample_nearest1d", "aten::upsample_linear1d",
        ),
        _spatial,
    ),
    **dict.fromkeys(
        (
            "aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::_native_batch_norm_legit_no_training",
            "aten::batch_norm", "aten::cudnn_batch_norm", "aten::_batch_norm_no_update",
        ),
        _batch_norm,
    ),
    "aten::native_layer_norm": _layer_norm,
    "aten::_fused_rms_norm": _layer_norm,
    "aten::native_group_norm": _group_norm,
    "aten::_weight_norm_interface": _weight_norm,
}  # fmt: skip
