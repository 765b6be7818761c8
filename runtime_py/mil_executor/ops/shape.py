"""Operations that move values without changing them, and those that make tensors out of a shape."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime_py.mil_executor.operands import Operands
from runtime_py.mil_executor.registry import register


@register("reshape")
def reshape(o: Operands) -> Tensor:
    """Same values in another shape; 0 keeps the size of that dimension, -1 takes what is left."""
    x = o.tensor("x")
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(o.integers("shape"))])


@register("transpose")
def transpose(o: Operands) -> Tensor:
    """Permutes the dimensions."""
    return o.tensor("x").permute(o.integers("perm"))


@register("expand_dims")
def expand_dims(o: Operands) -> Tensor:
    """Inserts dimensions of size 1; `axes` count in the result."""
    x, axes = o.tensor("x"), o.integers("axes")
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@register("squeeze")
def squeeze(o: Operands) -> Tensor:
    """Removes dimensions of size 1, all of them without `axes`."""
    x = o.tensor("x")
    return x.squeeze(tuple(o.integers("axes"))) if "axes" in o else x.squeeze()


@register("concat")
def concat(o: Operands) -> Tensor:
    """Joins along an axis, one slice of each in turn if `interleave` (ShuffleNet's shuffle of channels becomes that).

    Scalars, which shape arithmetic joins, count as vectors of one.
    """
    values = [v.reshape(1) if v.ndim == 0 else v for v in o.tensors("values")]
    axis = o.integer("axis") % values[0].ndim
    if o.flag("interleave"):
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


@register("stack")
def stack(o: Operands) -> Tensor:
    """Joins along a new axis."""
    return torch.stack(o.tensors("values"), o.integer("axis"))


@register("split")
def split(o: Operands) -> tuple[Tensor, ...]:
    """Cuts along an axis, in stated sizes or in equal parts."""
    x, axis = o.tensor("x"), o.integer("axis")
    if "split_sizes" in o:
        return torch.split(x, o.integers("split_sizes"), axis)
    return torch.split(x, x.shape[axis] // o.integer("num_splits"), axis)


@register("tile")
def tile(o: Operands) -> Tensor:
    """Repeats the whole tensor along each dimension."""
    return o.tensor("x").tile(o.integers("reps"))


@register("reverse")
def reverse(o: Operands) -> Tensor:
    """Reverses the order along axes, all of them without `axes`."""
    x = o.tensor("x")
    return x.flip(o.integers("axes", list(range(x.ndim))))


@register("shape")
def shape(o: Operands) -> Tensor:
    """The shape itself, int32."""
    return torch.tensor(o.tensor("x").shape, dtype=torch.int32)


@register("fill")
def fill(o: Operands) -> Tensor:
    """A tensor of one value."""
    value = o.optional("value")
    return torch.full(o.integers("shape"), 0.0 if value is None else value.item())


@register("fill_like")
def fill_like(o: Operands) -> Tensor:
    """A tensor of one value, in the shape of another."""
    value = o.optional("value")
    return torch.full(o.tensor("ref_tensor").shape, 0.0 if value is None else value.item())


@register("range_1d")
def range_1d(o: Operands) -> Tensor:
    """From `start` to below `end` in equal steps."""
    return torch.arange(o.tensor("start").item(), o.tensor("end").item(), o.tensor("step").item())


@register("pixel_shuffle")
def pixel_shuffle(o: Operands) -> Tensor:
    """Moves channels into space: [N, C r r, H, W] -> [N, C, H r, W r]."""
    return F.pixel_shuffle(o.tensor("x"), o.integer("upscale_factor"))


@register("pixel_unshuffle")
def pixel_unshuffle(o: Operands) -> Tensor:
    """The inverse of pixel_shuffle."""
    return F.pixel_unshuffle(o.tensor("x"), o.integer("downscale_factor"))


@register("space_to_depth")
def space_to_depth(o: Operands) -> Tensor:
    """Moves blocks into channels, the block's position outermost."""
    x, b = o.tensor("x"), o.integer("block_size")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)


@register("depth_to_space")
def depth_to_space(o: Operands) -> Tensor:
    """The inverse of space_to_depth."""
    x, b = o.tensor("x"), o.integer("block_size")
    n, c, h, w = x.shape
    blocks = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // (b * b), h * b, w * b)
