"""MIL operations in float64 numpy, written from Apple's specification: slow, and nothing shared with ours."""

import itertools
import math

import numpy as np

erf = np.vectorize(math.erf)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def same_pads(size, kernel, stride, dilation=1, lower=False):
    """Smallest padding that gives ceil(size / stride) positions, found by trying."""
    wanted = -(-size // stride)
    total = 0
    while (size + total - (kernel - 1) * dilation - 1) // stride + 1 < wanted:
        total += 1
    small = total // 2
    return (total - small, small) if lower else (small, total - small)


def conv(x, weight, bias=None, strides=None, pads=None, dilations=None, groups=1):
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *(pads or [(0, 0)] * rank)])
    kernel = weight.shape[2:]
    out = [(x.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(rank)]
    y = np.zeros((x.shape[0], weight.shape[0], *out))
    into, from_ = weight.shape[0] // groups, weight.shape[1]
    for n, o in itertools.product(range(x.shape[0]), range(weight.shape[0])):
        first = o // into * from_
        for place in itertools.product(*map(range, out)):
            for c, tap in itertools.product(range(from_), itertools.product(*map(range, kernel))):
                at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True))
                y[(n, o, *place)] += x[(n, first + c, *at)] * weight[(o, c, *tap)]
    return y if bias is None else y + bias.reshape(1, -1, *[1] * rank)


def conv_transpose(x, weight, bias=None, strides=(1, 1), dilations=(1, 1), groups=1, crop=((0, 0), (0, 0))):
    """Each input value adds its weighted kernel to the output; `crop` is cut off at the edges."""
    n, channels, height, width = x.shape
    per_group, (kh, kw) = weight.shape[1], weight.shape[2:]
    y = np.zeros(
        (
            n,
            per_group * groups,
            (height - 1) * strides[0] + (kh - 1) * dilations[0] + 1,
            (width - 1) * strides[1] + (kw - 1) * dilations[1] + 1,
        )
    )
    for b, c, i, j in np.ndindex(x.shape):
        for o, u, v in np.ndindex(per_group, kh, kw):
            target = c // (channels // groups) * per_group + o
            y[b, target, i * strides[0] + u * dilations[0], j * strides[1] + v * dilations[1]] += (
                x[b, c, i, j] * weight[c, o, u, v]
            )
    (top, bottom), (left, right) = crop
    y = y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def pool(x, kind, kernel, strides, pads, exclude=False):
    """Windows over [N, C, H, W]; a window that leaves the padded image (ceil mode) sees what there is."""
    n, c, height, width = x.shape
    (top, bottom), (left, right) = pads
    out_h = (height + top + bottom - kernel[0]) // strides[0] + 1
    out_w = (width + left + right - kernel[1]) // strides[1] + 1
    y = np.zeros((n, c, out_h, out_w))
    for b, k, i, j in np.ndindex(y.shape):
        rows = [r for r in range(i * strides[0] - top, i * strides[0] - top + kernel[0]) if 0 <= r < height]
        cols = [s for s in range(j * strides[1] - left, j * strides[1] - left + kernel[1]) if 0 <= s < width]
        seen = np.array([x[b, k, r, s] for r in rows for s in cols], np.float64)
        count = seen.size if exclude else kernel[0] * kernel[1]
        y[b, k, i, j] = {
            "max": lambda v, m: v.max(),
            "avg": lambda v, m: v.sum() / m,
            "l2": lambda v, m: math.sqrt((v**2).sum()),
        }[kind](seen, count)
    return y


def standardise(x, axes, epsilon, gamma=None, beta=None, shape=None):
    x = x.astype(np.float64)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def resize_bilinear(x, height, width, source):
    """`source(i, size, target)` is where target position i lies in the source, before it is clamped."""
    y = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        r = min(max(source(i, x.shape[2], height), 0), x.shape[2] - 1)
        s = min(max(source(j, x.shape[3], width), 0), x.shape[3] - 1)
        r0, s0 = math.floor(r), math.floor(s)
        r1, s1 = min(r0 + 1, x.shape[2] - 1), min(s0 + 1, x.shape[3] - 1)
        top = x[:, :, r0, s0] * (1 - (s - s0)) + x[:, :, r0, s1] * (s - s0)
        low = x[:, :, r1, s0] * (1 - (s - s0)) + x[:, :, r1, s1] * (s - s0)
        y[:, :, i, j] = top * (1 - (r - r0)) + low * (r - r0)
    return y


def resize_nearest(x, height, width):
    rows = [i * x.shape[2] // height for i in range(height)]
    cols = [j * x.shape[3] // width for j in range(width)]
    return x[:, :, rows][:, :, :, cols]


def attention(query, key, value, mask=None):
    scores = query.astype(np.float64) @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return softmax(scores) @ value


def local_response_norm(x, size, alpha, beta, k):
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        first = c - size // 2
        near = [i for i in range(first, first + size) if 0 <= i < x.shape[1]]
        y[:, c] = x[:, c] / (k + alpha / size * (x[:, near].astype(np.float64) ** 2).sum(1)) ** beta
    return y


def space_to_depth(x, b):
    n, c, h, w = x.shape
    y = np.zeros((n, c * b * b, h // b, w // b), x.dtype)
    for i, j in np.ndindex(b, b):
        y[:, (i * b + j) * c : (i * b + j + 1) * c] = x[:, :, i::b, j::b]
    return y


def depth_to_space(x, b):
    n, c, h, w = x.shape
    y = np.zeros((n, c // (b * b), h * b, w * b), x.dtype)
    part = c // (b * b)
    for i, j in np.ndindex(b, b):
        y[:, :, i::b, j::b] = x[:, (i * b + j) * part : (i * b + j + 1) * part]
    return y


def pixel_shuffle(x, r):
    n, c, h, w = x.shape
    y = np.zeros((n, c // (r * r), h * r, w * r), x.dtype)
    for k, i, j in np.ndindex(c // (r * r), r, r):
        y[:, k, i::r, j::r] = x[:, k * r * r + i * r + j]
    return y


def pixel_unshuffle(x, r):
    n, c, h, w = x.shape
    y = np.zeros((n, c * r * r, h // r, w // r), x.dtype)
    for k, i, j in np.ndindex(c, r, r):
        y[:, k * r * r + i * r + j] = x[:, k, i::r, j::r]
    return y
