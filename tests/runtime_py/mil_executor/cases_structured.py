"""Cases of layers, and of operations that move values."""

import numpy as np

from tests.oracles import mil as slow
from tests.runtime_py.mil_executor.cases_plain import real
from tests.runtime_py.mil_executor.programs import Case

X = real(2, 3, 4)
IMAGE = real(1, 4, 5, 6)
VECTOR4, OFFSET4 = real(4, low=0.5, high=2.0), real(4)
WEIGHT = real(6, 4, 3, 3)
GROUPED = real(6, 2, 3, 3)
BIAS = real(6)
LINE = real(5, 3, 3)
TRANSPOSED = real(4, 3, 3, 3)
QUERY, KEY, VALUE = real(1, 2, 3, 8), real(1, 2, 5, 8), real(1, 2, 5, 8)
MASK = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], bool)
INDEX = np.array([2, -1, 0], np.int32)
SAME_2 = [slow.same_pads(5, 3, 2), slow.same_pads(6, 3, 2)]
LOWER_2 = [slow.same_pads(5, 3, 2, lower=True), slow.same_pads(6, 3, 2, lower=True)]
ONES = ((1, 1), (1, 1))
NONE = ((0, 0), (0, 0))


def conv(fixed, **how):
    weight = fixed.get("weight", WEIGHT)
    return Case("conv", {"x": IMAGE}, lambda x: slow.conv(x, weight, **how), {"weight": weight, **fixed})


def transposed(fixed, **how):
    return Case(
        "conv_transpose",
        {"x": IMAGE},
        lambda x: slow.conv_transpose(x, TRANSPOSED, **how),
        {"weight": TRANSPOSED, **fixed},
    )


def pooled(kind, fixed, pads=NONE, **how):
    base = {"kernel_sizes": [3, 2], "strides": [2, 1], "pad_type": "valid"}
    return Case(
        f"{kind}_pool",
        {"x": IMAGE},
        lambda x: slow.pool(x, kind, (3, 2), (2, 1), pads, **how),
        {**base, **fixed},
    )


LAYERS = [
    conv({}),
    conv({"bias": BIAS, "strides": [2, 1], "pad_type": "custom", "pad": [1, 0, 2, 1]}, bias=BIAS,
         strides=[2, 1], pads=[(1, 0), (2, 1)]),
    conv({"strides": [2, 2], "pad_type": "same"}, strides=[2, 2], pads=SAME_2),
    conv({"strides": [2, 2], "pad_type": "same_lower"}, strides=[2, 2], pads=LOWER_2),
    conv({"dilations": [2, 1]}, dilations=[2, 1]),
    conv({"weight": GROUPED, "groups": 2}, groups=2),
    Case("conv", {"x": real(2, 3, 7)}, lambda x: slow.conv(x, LINE, strides=[2]),
         {"weight": LINE, "strides": [2]}),
    transposed({}),
    transposed({"strides": [2, 2], "pad_type": "custom", "pad": [1, 0, 1, 1]}, strides=(2, 2),
               crop=((1, 0), (1, 1))),
    transposed({"strides": [2, 1], "dilations": [1, 2], "bias": BIAS[:3].copy()}, strides=(2, 1),
               dilations=(1, 2), bias=BIAS[:3]),
    transposed({"strides": [2, 2], "groups": 2}, strides=(2, 2), groups=2),
    *(pooled(kind, {}) for kind in ("max", "l2")),
    pooled("avg", {"exclude_padding_from_average": False}),
    pooled("max", {"pad_type": "custom", "pad": [1, 1, 0, 1]}, ((1, 1), (0, 1))),
    pooled("avg", {"pad_type": "custom", "pad": [1, 1, 0, 1], "exclude_padding_from_average": True},
           ((1, 1), (0, 1)), exclude=True),
    pooled("avg", {"pad_type": "custom", "pad": [1, 1, 0, 1], "exclude_padding_from_average": False},
           ((1, 1), (0, 1))),
    Case("max_pool", {"x": IMAGE},
         lambda x: slow.pool(x, "max", (2, 3), (2, 2), ((0, 1), (0, 1))),
         {"kernel_sizes": [2, 3], "strides": [2, 2], "pad_type": "valid", "ceil_mode": True}),
    Case("avg_pool", {"x": IMAGE},
         lambda x: slow.pool(x, "avg", (2, 2), (2, 2), ((0, 1), (0, 0)), exclude=True),
         {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid", "ceil_mode": True,
          "exclude_padding_from_average": True}),
    Case("linear", {"x": X}, lambda x, w=WEIGHT[:, :, 0, 0]: x @ w.T + BIAS,
         {"weight": WEIGHT[:, :, 0, 0].copy(), "bias": BIAS}),
    Case("matmul", {"x": QUERY, "y": KEY}, lambda x, y: x @ y.swapaxes(-1, -2), {"transpose_y": True}),
    Case("matmul", {"x": QUERY, "y": QUERY}, lambda x, y: x.swapaxes(-1, -2) @ y, {"transpose_x": True}),
    Case("einsum", {"values": (real(2, 3, 4, 5), real(2, 5, 4, 6))},
         lambda values: np.stack([np.stack([a[:, h] @ b[:, h] for h in range(4)], 1)
                                  for a, b in zip(*values, strict=True)]), {"equation": "nchw,nwhu->nchu"}),
    Case("scaled_dot_product_attention", {"query": QUERY, "key": KEY, "value": VALUE}, slow.attention,
         opset="iOS18"),
    Case("scaled_dot_product_attention", {"query": QUERY, "key": KEY, "value": VALUE},
         lambda query, key, value: slow.attention(query, key, value, MASK), {"attn_mask": MASK}, "iOS18"),
    Case("batch_norm", {"x": IMAGE},
         lambda x: (x - OFFSET4.reshape(4, 1, 1)) / np.sqrt(VECTOR4 + 1e-3).reshape(4, 1, 1)
         * VECTOR4[::-1].reshape(4, 1, 1) + OFFSET4[::-1].reshape(4, 1, 1),
         {"mean": OFFSET4, "variance": VECTOR4, "gamma": VECTOR4[::-1].copy(), "beta": OFFSET4[::-1].copy(),
          "epsilon": 1e-3}),
    Case("instance_norm", {"x": IMAGE},
         lambda x: slow.standardise(x, (2, 3), 1e-3, VECTOR4, OFFSET4, (4, 1, 1)),
         {"gamma": VECTOR4, "beta": OFFSET4, "epsilon": 1e-3}),
    Case("layer_norm", {"x": X}, lambda x: slow.standardise(x, (2,), 1e-3, VECTOR4, OFFSET4, (4,)),
         {"axes": [-1], "gamma": VECTOR4, "beta": OFFSET4, "epsilon": 1e-3}),
    Case("layer_norm", {"x": IMAGE}, lambda x: slow.standardise(x, (1,), 1e-5, VECTOR4, None, (4, 1, 1)),
         {"axes": [1], "gamma": VECTOR4}),
    Case("l2_norm", {"x": IMAGE}, lambda x: x / np.sqrt((x.astype(np.float64) ** 2).sum() + 1e-6)),
    Case("local_response_norm", {"x": IMAGE}, lambda x: slow.local_response_norm(x, 3, 0.1, 0.75, 2.0),
         {"size": 3, "alpha": 0.1, "beta": 0.75, "k": 2.0}),
    Case("quantize", {"input": IMAGE}, lambda input: np.clip(np.round(input / 0.02) + 3, -128, 127),
         {"scale": np.float32(0.02), "zero_point": np.int8(3), "output_dtype": "int8"}),
    Case("dequantize", {}, lambda: np.float32(0.5) * (np.arange(6.0).reshape(2, 3) - [[1], [2]]),
         {"input": np.arange(6, dtype=np.int8).reshape(2, 3), "scale": np.array([0.5, 0.5], np.float32),
          "zero_point": np.array([1, 2], np.int8), "axis": 0}),
    *(Case("resize_bilinear", {"x": IMAGE}, lambda x, s=s: slow.resize_bilinear(x, 7, 4, s),
           {"target_size_height": 7, "target_size_width": 4, "sampling_mode": mode})
      for mode, s in {
          "DEFAULT": lambda i, n, t: i * n / t,
          "STRICT_ALIGN_CORNERS": lambda i, n, t: i * (n - 1) / (t - 1),
          "ALIGN_CORNERS": lambda i, n, t: i * (n - 1) / (t - 1),
          "UNALIGN_CORNERS": lambda i, n, t: (i + 0.5) * n / t - 0.5,
          "OFFSET_CORNERS": lambda i, n, t: (i + 0.5) * (n - 1) / t,
      }.items()),
    Case("upsample_bilinear", {"x": IMAGE}, lambda x: slow.resize_bilinear(
        x, 10, 12, lambda i, n, t: i * (n - 1) / (t - 1)),
        {"scale_factor_height": 2, "scale_factor_width": 2, "align_corners": True}),
    Case("upsample_bilinear", {"x": IMAGE}, lambda x: slow.resize_bilinear(
        x, 10, 18, lambda i, n, t: (i + 0.5) * n / t - 0.5),
        {"scale_factor_height": 2, "scale_factor_width": 3, "align_corners": False}),
    Case("resize_nearest_neighbor", {"x": IMAGE}, lambda x: slow.resize_nearest(x, 8, 3),
         {"target_size_height": 8, "target_size_width": 3}),
    Case("upsample_nearest_neighbor", {"x": IMAGE}, lambda x: slow.resize_nearest(x, 10, 18),
         {"scale_factor_height": 2, "scale_factor_width": 3}),
]  # fmt: skip
MOVES = [
    Case("reshape", {"x": X}, lambda x: x.reshape(6, 4), {"shape": [-1, 4]}),
    Case("transpose", {"x": X}, lambda x: x.transpose(2, 0, 1), {"perm": [2, 0, 1]}),
    Case("expand_dims", {"x": X}, lambda x: x[:, None, :, :, None], {"axes": [1, -1]}),
    Case("squeeze", {"x": real(1, 3, 1)}, lambda x: x[0], {"axes": [0]}),
    Case("squeeze", {"x": real(1, 3, 1)}, np.squeeze),
    Case("concat", {"values": (X, X * 2)}, lambda values: np.concatenate(values, 1), {"axis": 1}),
    Case("concat", {"values": (X, X * 2)}, lambda values: np.stack(values, 2).reshape(len(X), -1, X.shape[2]),
         {"axis": 1, "interleave": True}),
    Case("concat", {"values": (X, X * 2)}, lambda values: np.stack(values, 3).reshape(*X.shape[:2], -1),
         {"axis": -1, "interleave": True}),
    Case("stack", {"values": (X, X * 2)}, lambda values: np.stack(values, 2), {"axis": 2}),
    Case("split", {"x": IMAGE}, lambda x: tuple(np.split(x, [1, 3], 3)),
         {"split_sizes": [1, 2, 3], "axis": 3}),
    Case("split", {"x": IMAGE}, lambda x: tuple(np.split(x, 2, 1)), {"num_splits": 2, "axis": 1}),
    Case("tile", {"x": X}, lambda x: np.tile(x, (1, 2, 3)), {"reps": [1, 2, 3]}),
    Case("reverse", {"x": X}, lambda x: x[:, ::-1, ::-1], {"axes": [1, 2]}),
    Case("reverse", {"x": X}, lambda x: x[::-1, ::-1, ::-1]),
    Case("shape", {"x": X}, lambda x: np.array(x.shape)),
    Case("fill", {}, lambda: np.full((2, 3), 7.5), {"shape": [2, 3], "value": 7.5}),
    Case("fill_like", {"ref_tensor": X}, lambda ref_tensor: np.full(ref_tensor.shape, -1), {"value": -1}),
    Case("range_1d", {}, lambda: np.arange(1, 8, 3), {"start": 1, "end": 8, "step": 3}),
    Case("pixel_shuffle", {"x": IMAGE}, lambda x: slow.pixel_shuffle(x, 2), {"upscale_factor": 2}),
    Case("pixel_unshuffle", {"x": IMAGE[:, :, :4]}, lambda x: slow.pixel_unshuffle(x, 2),
         {"downscale_factor": np.uint32(2)}),
    Case("space_to_depth", {"x": IMAGE[:, :, :4]}, lambda x: slow.space_to_depth(x, 2), {"block_size": 2}),
    Case("depth_to_space", {"x": IMAGE}, lambda x: slow.depth_to_space(x, 2), {"block_size": 2}),
    Case("slice_by_index", {"x": IMAGE}, lambda x: x[:, -3:3, ::2, 5:1:-2],
         {"begin": [0, -3, 0, 5], "end": [0, 3, 0, 1], "stride": [1, 1, 2, -2],
          "begin_mask": [True, False, True, False], "end_mask": [True, False, True, False]}),
    Case("slice_by_index", {"x": X}, lambda x: x[1, :, 1:3],
         {"begin": [1, 0, 1], "end": [2, 3, 3], "squeeze_mask": [True, False, False]}),
    Case("slice_by_size", {"x": X}, lambda x: x[:, 1:3, 2:], {"begin": [0, 1, 2], "size": [-1, 2, -1]}),
    Case("crop", {"x": IMAGE}, lambda x: x[:, :, 1:4, 2:5], {"crop_height": [1, 1], "crop_width": [2, 1]}),
    Case("pad", {"x": X}, lambda x: np.pad(x, ((0, 0), (1, 0), (2, 1)), constant_values=9.0),
         {"pad": [1, 0, 2, 1], "mode": "constant", "constant_val": 9.0}),
    Case("pad", {"x": IMAGE}, lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (2, 1)), mode="reflect"),
         {"pad": [1, 2, 2, 1], "mode": "reflect"}),
    Case("pad", {"x": IMAGE}, lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (2, 1)), mode="edge"),
         {"pad": [1, 2, 2, 1], "mode": "replicate"}),
    Case("band_part", {"x": X}, lambda x: np.triu(np.tril(x, 2), -1), {"lower": 1, "upper": 2}),
    Case("band_part", {"x": X}, np.tril, {"lower": -1, "upper": 0}),
    Case("gather", {"x": X, "indices": INDEX}, lambda x, indices: x[:, indices], {"axis": 1}),
    Case("gather", {"x": X, "indices": np.array([[1, 3], [0, -1]], np.int32)},
         lambda x, indices: np.stack([x[i][:, indices[i]] for i in range(2)]), {"axis": 2, "batch_dims": 1}),
    Case("gather_along_axis", {"x": X, "indices": np.array([[[0, 1, -1, 2]], [[2, 2, 1, 0]]], np.int32)},
         lambda x, indices: np.take_along_axis(x, indices % 3, 1), {"axis": 1}),
    Case("gather_nd", {"x": X, "indices": np.array([[0, 2], [1, -1]], np.int32)},
         lambda x, indices: x[[0, 1], [2, 2]]),
    Case("topk", {"x": X}, lambda x: (np.sort(x, 2)[:, :, ::-1][:, :, :2], np.argsort(-x, 2)[:, :, :2]),
         {"k": 2, "axis": 2}),
    Case("topk", {"x": X}, lambda x: (np.sort(x, 1)[:, :1], np.argsort(x, 1)[:, :1]),
         {"k": 1, "axis": 1, "ascending": True}),
]  # fmt: skip
CASES = LAYERS + MOVES
