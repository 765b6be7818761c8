"""Cases of element-wise operations, activations and reductions."""

import numpy as np
from scipy import special

from tests.oracles import mil as slow
from tests.runtime_py.mil_executor.programs import Case

RNG = np.random.default_rng(20)


def real(*shape, low=-3.0, high=3.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


X = real(2, 3, 4)
POSITIVE = real(2, 3, 4, low=0.1)
UNIT = real(2, 3, 4, low=-0.9, high=0.9)
WHOLE = np.array([[-7, -3, 0, 2], [5, 8, -1, 4]], np.int32)
OTHER = np.array([[2, -2, 3, 5], [-3, 3, 2, -4]], np.int32)
TRUE, ALSO = WHOLE > 0, OTHER > 0
HALVES = np.array([-2.5, -1.5, -0.5, -0.2, 0.0, 0.5, 1.5, 2.5, 2.6], np.float32)

UNARY = {
    "abs": (X, np.abs),
    "acos": (UNIT, np.arccos),
    "asin": (UNIT, np.arcsin),
    "atan": (X, np.arctan),
    "atanh": (UNIT, np.arctanh),
    "ceil": (X, np.ceil),
    "cos": (X, np.cos),
    "cosh": (X, np.cosh),
    "erf": (X, slow.erf),
    "exp": (X, np.exp),
    "exp2": (X, np.exp2),
    "floor": (X, np.floor),
    "identity": (X, lambda x: x),
    "relu": (X, lambda x: np.where(x > 0, x, 0)),
    "relu6": (X * 4, lambda x: np.minimum(np.maximum(x, 0), 6)),
    "round": (HALVES, lambda x: np.array([-2, -2, 0, 0, 0, 0, 2, 2, 3])),
    "sigmoid": (X, slow.sigmoid),
    "sign": (HALVES, np.sign),
    "silu": (X, lambda x: x * slow.sigmoid(x)),
    "sin": (X, np.sin),
    "sinh": (X, np.sinh),
    "softplus": (X * 9, lambda x: np.log1p(np.exp(x.astype(np.float64)))),
    "softsign": (X, lambda x: x / (1 + np.abs(x))),
    "sqrt": (POSITIVE, np.sqrt),
    "square": (X, np.square),
    "tan": (UNIT, np.tan),
    "tanh": (X, np.tanh),
}
BINARY = {
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mul": np.multiply,
    "real_div": np.divide,
    "sub": np.subtract,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
}
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}
REDUCTIONS = {
    "reduce_l1_norm": lambda x, a, k: np.abs(x).sum(a, keepdims=k),
    "reduce_l2_norm": lambda x, a, k: np.sqrt((x.astype(np.float64) ** 2).sum(a, keepdims=k)),
    "reduce_log_sum": lambda x, a, k: np.log(x.sum(a, keepdims=k)),
    "reduce_log_sum_exp": lambda x, a, k: special.logsumexp(x.astype(np.float64), a, keepdims=k),
    "reduce_max": lambda x, a, k: x.max(a, keepdims=k),
    "reduce_mean": lambda x, a, k: x.mean(a, keepdims=k),
    "reduce_min": lambda x, a, k: x.min(a, keepdims=k),
    "reduce_prod": lambda x, a, k: x.prod(a, keepdims=k),
    "reduce_sum": lambda x, a, k: x.sum(a, keepdims=k),
    "reduce_sum_square": lambda x, a, k: (x.astype(np.float64) ** 2).sum(a, keepdims=k),
}


def reduction(name, function, axes, keep):
    return Case(
        name,
        {"x": POSITIVE},
        lambda x: function(x, tuple(a % 3 for a in axes), keep),
        {"axes": list(axes), "keep_dims": keep},
    )


COLUMN = real(3, low=0.5, high=2.0)
PICTURE = real(1, 3, 2, 2)
BROADCAST = {"x": real(3, 1, 4), "y": real(2, 1)}
CASES = [
    *(Case(name, {"x": x}, f) for name, (x, f) in UNARY.items()),
    *(Case(name, BROADCAST, lambda x, y, f=f: f(x, y)) for name, f in BINARY.items()),
    *(Case(name, {"x": WHOLE, "y": WHOLE[::-1].copy()}, lambda x, y, f=f: f(x, y))
      for name, f in BINARY.items() if name != "real_div"),
    *(Case(name, {"x": TRUE, "y": ALSO}, lambda x, y, f=f: f(x, y)) for name, f in LOGICAL.items()),
    Case("logical_not", {"x": TRUE}, np.logical_not),
    Case("floor_div", {"x": WHOLE, "y": OTHER}, np.floor_divide),
    Case("floor_div", {"x": X, "y": POSITIVE}, np.floor_divide),
    Case("mod", {"x": WHOLE, "y": OTHER}, np.mod),
    Case("mod", {"x": X, "y": POSITIVE}, np.mod),
    Case("pow", {"x": POSITIVE, "y": X}, np.power),
    Case("cast", {"x": HALVES}, lambda x: np.trunc(x).astype(np.int32), {"dtype": "int32"}),
    Case("cast", {"x": WHOLE}, lambda x: x.astype(np.float32), {"dtype": "fp32"}),
    Case("cast", {"x": HALVES}, lambda x: x != 0, {"dtype": "bool"}),
    Case("clip", {"x": X}, lambda x: np.clip(x, -1, 2), {"alpha": -1.0, "beta": 2.0}),
    Case("inverse", {"x": POSITIVE}, lambda x: 1 / (x + 0.01), {"epsilon": 0.01}),
    Case("inverse", {"x": POSITIVE}, lambda x: 1 / (x + 1e-4)),
    Case("log", {"x": POSITIVE}, np.log),
    Case("log", {"x": POSITIVE}, lambda x: np.log(x + 0.5), {"epsilon": 0.5}),
    Case("rsqrt", {"x": POSITIVE}, lambda x: 1 / np.sqrt(x)),
    Case("rsqrt", {"x": POSITIVE}, lambda x: 1 / np.sqrt(x + 0.1), {"epsilon": 0.1}),
    Case("select", {"cond": TRUE, "a": WHOLE, "b": OTHER}, np.where),
    Case("threshold", {"x": X}, lambda x: np.maximum(x, 0.5), {"alpha": 0.5}),
    Case("clamped_relu", {"x": X}, lambda x: np.minimum(np.where(x >= 0, x, 0.1 * x), 2),
         {"alpha": 0.1, "beta": 2.0}),
    Case("elu", {"x": X}, lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1)), {"alpha": 0.7}),
    Case("gelu", {"x": X}, slow.gelu, {"mode": "EXACT"}),
    Case("gelu", {"x": X}, slow.gelu_tanh, {"mode": "TANH_APPROXIMATION"}),
    Case("gelu", {"x": X}, lambda x: x * slow.sigmoid(1.702 * x), {"mode": "SIGMOID_APPROXIMATION"}),
    Case("leaky_relu", {"x": X}, lambda x: np.where(x >= 0, x, 0.2 * x), {"alpha": 0.2}),
    Case("linear_activation", {"x": X}, lambda x: 2 * x - 1, {"alpha": 2.0, "beta": -1.0}),
    Case("prelu", {"x": PICTURE}, lambda x: np.where(x >= 0, x, x * COLUMN[:, None, None]),
         {"alpha": COLUMN}),
    Case("scaled_tanh", {"x": X}, lambda x: 2 * np.tanh(0.3 * x), {"alpha": 2.0, "beta": 0.3}),
    Case("sigmoid_hard", {"x": X}, lambda x: np.clip(0.3 * x + 0.4, 0, 1), {"alpha": 0.3, "beta": 0.4}),
    Case("softmax", {"x": X}, slow.softmax),
    Case("softmax", {"x": X}, lambda x: slow.softmax(x, 1), {"axis": 1}),
    Case("softplus_parametric", {"x": PICTURE},
         lambda x: COLUMN[:, None, None] * np.log1p(np.exp(COLUMN[::-1][:, None, None] * x)),
         {"alpha": COLUMN, "beta": COLUMN[::-1].copy()}),
    Case("thresholded_relu", {"x": X}, lambda x: np.where(x >= 0.5, x, 0), {"alpha": 0.5}),
    *(reduction(n, f, axes, keep) for n, f in REDUCTIONS.items()
      for axes, keep in (((-1,), False), ((0, 2), True))),
    Case("reduce_argmax", {"x": X}, lambda x: x.argmax(1), {"axis": 1}),
    Case("reduce_argmin", {"x": X}, lambda x: x.argmin(-1)[..., None], {"keep_dims": True}),
    Case("cumsum", {"x": X}, lambda x: x.cumsum(1), {"axis": 1}),
    Case("cumsum", {"x": X}, lambda x: x[:, :, ::-1].cumsum(2)[:, :, ::-1] - x,
         {"axis": 2, "exclusive": True, "reverse": True}),
]  # fmt: skip
