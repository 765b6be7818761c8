"""Compressed weights, which the executor unfolds once when it opens a package.

Up to iOS17 the operations pack their integers into bytes and state a `shape`; from iOS18 on the integers have
sub-byte types, and scales and tables may hold for blocks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from runtime_py.mil_executor.dtypes import unpack
from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.ops.quantize import along_axis
from runtime_py.mil_executor.registry import register


@register("constexpr_cast")
def cast(o: Operands) -> Tensor:
    """fp16 weights used as fp32."""
    return o.tensor("source_val").float()


@register("constexpr_affine_dequantize")
def affine_dequantize(o: Operands) -> Tensor:
    """Computes scale * (quantized_data - zero_point), per tensor or per channel."""
    data, scale, axis = o.tensor("quantized_data").float(), o.tensor("scale"), o.integer("axis")
    levels = data - along_axis(o.tensor("zero_point").float(), data, axis)
    return (along_axis(scale, data, axis).float() * levels).to(scale.dtype)


@register("constexpr_blockwise_shift_scale")
def blockwise_shift_scale(o: Operands) -> Tensor:
    """Computes scale * (data - offset), each repeated over blocks of the data."""
    return _shift_scale(o.tensor("data"), o.tensor("scale"), o.optional("offset"))


@register("constexpr_sparse_blockwise_shift_scale")
def sparse_blockwise_shift_scale(o: Operands) -> tuple[Tensor, Tensor]:
    """The same on the values that a mask keeps; returns the mask and the values."""
    mask = o.tensor("data_mask") != 0
    dense = _scatter(mask, o.tensor("nonzero_data"))
    return o.tensor("data_mask"), _shift_scale(dense, o.tensor("scale"), o.optional("offset"))[mask]


@register("constexpr_lut_to_dense")
def lut_to_dense(o: Operands) -> Tensor:
    """Replaces each index by its entry of a table."""
    indices, table = o.tensor("indices"), o.tensor("lut")
    if "shape" not in o:
        return _look_up(indices, table, o.integer("vector_axis", -1))
    shape = o.integers("shape")
    width = round(math.log2(table.numel()))
    positions = unpack(indices.numpy().tobytes(), width, math.prod(shape))
    return table[torch.from_numpy(positions).long()].reshape(shape)


@register("constexpr_lut_to_sparse")
def lut_to_sparse(o: Operands) -> tuple[Tensor, Tensor]:
    """Looks up the indices that a mask keeps; returns the mask and the values."""
    mask, table = o.tensor("indices_mask"), o.tensor("lut")
    axis = o.integer("vector_axis", -1)
    dense = _look_up(_scatter(mask != 0, o.tensor("indices_nonzero_data")), table, axis)
    if table.shape[-1] > 1:
        mask = mask.repeat_interleave(table.shape[-1], axis)
    return mask, dense[mask != 0]


@register("constexpr_sparse_to_dense")
def sparse_to_dense(o: Operands) -> Tensor:
    """Puts the stored values where the mask is set, zero elsewhere."""
    mask = o.tensor("mask")
    if "shape" in o:
        shape = o.integers("shape")
        mask = torch.from_numpy(unpack(mask.numpy().tobytes(), 1, math.prod(shape))).reshape(shape)
    return _scatter(mask != 0, o.tensor("nonzero_data"))


def _scatter(mask: Tensor, values: Tensor) -> Tensor:
    kept = int(mask.sum())
    if kept != values.numel():
        raise OperandError(f"has {values.numel()} values for the {kept} positions that its mask keeps")
    dense = torch.zeros(mask.shape, dtype=values.dtype)
    dense[mask] = values
    return dense


def _shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None) -> Tensor:
    levels = data.float()
    if offset is not None:
        levels = levels - _repeat_blocks(offset.float(), list(data.shape))
    return (_repeat_blocks(scale.float(), list(data.shape)) * levels).to(scale.dtype)


def _look_up(indices: Tensor, table: Tensor, vector_axis: int) -> Tensor:
    """Look up vectors of table [*blocks, entries, length]; they lie along `vector_axis` of the result."""
    length, axis = table.shape[-1], vector_axis % indices.ndim
    table = _repeat_blocks(table, [*indices.shape, *table.shape[-2:]])
    index = indices.long()[..., None, None].expand(*indices.shape, 1, length)
    vectors = torch.take_along_dim(table, index, -2).squeeze(-2)
    shape = [size * length if i == axis else size for i, size in enumerate(indices.shape)]
    return vectors.movedim(-1, axis + 1).reshape(shape)


def _repeat_blocks(parameter: Tensor, shape: list[int]) -> Tensor:
    for axis, (size, blocks) in enumerate(zip(shape, parameter.shape, strict=True)):
        if size != blocks:
            parameter = parameter.repeat_interleave(size // blocks, axis)
    return parameter
