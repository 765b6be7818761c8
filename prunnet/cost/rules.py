"""What an aten op costs: its kind and its multiply-accumulates, from names and shapes alone.

Counted: convolutions, matrix products, attention. Normalisation, activations, pooling and element-wise
arithmetic count zero MACs, the convention of the papers and of the measurements that latency is fitted to.
"""

from __future__ import annotations

import re
from math import prod

from prunnet.cost.graph import Kind
from prunnet.errors import EncoderError

Shape = tuple[int, ...]

KINDS: dict[str, Kind] = {
    **dict.fromkeys(["convolution", "_convolution", "conv2d", "conv1d"], "conv"),
    **dict.fromkeys(
        [
            "addmm",
            "addbmm",
            "addmv",
            "mm",
            "bmm",
            "baddbmm",
            "linear",
            "mv",
            "dot",
            "vdot",
            "_euclidean_dist",
            "scaled_dot_product_attention",
        ],
        "matmul",
    ),
    **dict.fromkeys(
        ["native_batch_norm", "_native_batch_norm_legit_no_training", "batch_norm", "cudnn_batch_norm"],
        "norm",
    ),
    **dict.fromkeys(
        ["native_layer_norm", "layer_norm", "native_group_norm", "linalg_vector_norm", "rms_norm"], "norm"
    ),
    "_native_batch_norm_legit": "norm",
    **dict.fromkeys(
        [
            "relu",
            "hardtanh",
            "clamp",
            "clamp_min",
            "clamp_max",
            "gelu",
            "silu",
            "sigmoid",
            "tanh",
            "erf",
            "elu",
        ],
        "activation",
    ),
    **dict.fromkeys(["hardswish", "hardsigmoid", "leaky_relu", "mish", "softplus", "prelu"], "activation"),
    **dict.fromkeys(
        ["add", "sub", "rsub", "mul", "div", "pow", "sqrt", "rsqrt", "exp", "neg", "maximum"], "elementwise"
    ),
    **dict.fromkeys(["mean", "sum", "amax", "max_pool2d_with_indices", "max_pool2d", "avg_pool2d"], "pool"),
    **dict.fromkeys(["_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"], "pool"),
    **dict.fromkeys(["_softmax", "_safe_softmax", "softmax", "_log_softmax"], "softmax"),
    **dict.fromkeys(
        ["clone", "cat", "copy", "_to_copy", "constant_pad_nd", "roll", "index", "stack", "contiguous"],
        "copy",
    ),
    **dict.fromkeys(["_reshape_copy", "expand_copy", "permute_copy", "gather", "index_select"], "copy"),
}
BATCH_NORMS = frozenset(
    {"native_batch_norm", "_native_batch_norm_legit_no_training", "batch_norm", "cudnn_batch_norm"}
)
FUSIBLE_ACTIVATIONS = frozenset({"relu", "hardtanh", "clamp", "clamp_min", "clamp_max"})
"""Activations that XNNPACK, LiteRT, ONNX Runtime and Core ML apply inside the op before them."""
_UNCOUNTED = ("lstm", "gru", "rnn", "_scaled_dot_product", "mkldnn", "fft_", "_cdist", "_trilinear")
"""Parts of names of ops that multiply matrices inside, which no rule here counts."""
_PRODUCTS = re.compile(r"mm(_|$)|matmul|(^|_)v?dot(_|$)|conv(olution|\d|_)|bilinear$")
"""In names of products: one that is not in `KINDS` has no rule either."""
_FACTORED = re.compile(
    r"linalg_(?!vector_norm|cross|diagonal|_powsum|check_errors)|solve|cholesky|geqrf|ormqr|matrix_exp"
)
"""In names of inverses, factorisations and solvers, which multiply as much."""


def kind_of(name: str, weight_shape: Shape | None, groups: int) -> Kind:
    """Return the op's kind.

    Args:
        name: aten name without namespace, overload and in-place underscore.
        weight_shape: Shape of a convolution's weight [O, I/groups, ...].
        groups: A convolution's groups.

    Raises:
        EncoderError: The op multiplies matrices in a way that is not counted here.
    """
    unknown = name not in KINDS and (_PRODUCTS.search(name) or _FACTORED.search(name))
    if any(part in name for part in _UNCOUNTED) or unknown:
        raise EncoderError(
            f"the op aten.{name} cannot be costed: its multiply-accumulates are unknown. "
            "Write the layer with convolutions, linear layers or scaled_dot_product_attention"
        )
    kind = KINDS.get(name, "other")
    if kind == "conv" and weight_shape is not None:
        if groups > 1 and weight_shape[1] == 1:
            return "depthwise"
        return "pointwise" if prod(weight_shape[2:]) == 1 else "conv"
    return kind


def macs_of(name: str, operands: list[Shape], output: Shape, transposed: bool) -> int:
    """Return the multiply-accumulates of one call.

    Args:
        name: aten name without namespace, overload and in-place underscore.
        operands: Shapes of the tensor arguments, in order.
        output: Shape of the first result.
        transposed: Whether a convolution is transposed.
    """
    kind = KINDS.get(name)
    if kind == "conv":
        source, weight = operands[0], operands[1]
        return prod(source if transposed else output) * prod(weight[1:])
    if name in {"mm", "bmm", "mv", "dot", "vdot", "linear"}:
        return prod(output) * operands[0][-1]
    if name == "_euclidean_dist":  # |x|^2 - 2xy + |y|^2 as one product, with two columns for the squares
        return prod(output) * (operands[0][-1] + 2)
    if name in {"addmm", "baddbmm", "addmv"}:
        return prod(output) * operands[1][-1]
    if name == "addbmm":
        return prod(operands[1]) * output[-1]
    if name == "scaled_dot_product_attention":
        query, key, value = operands[:3]
        return prod(query) * key[-2] + prod(query[:-1]) * key[-2] * value[-1]
    return 0
