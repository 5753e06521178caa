"""Quantizers of TFLite files: what a tensor's QuantizationParameters say, and what hybrid kernels do by themselves."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from qlint.graph import FLOAT_GRIDS, INTEGER_RANGES, Op, Quantizer, Shape, Tensor
from qlint.graph.values import Numbers
from qlint.readers.flatbuffer import MAX_EAGER, Table
from qlint.readers.tflite_ops import HYBRID


def grid_of(parameters: Table | None, dtype: str, shape: Shape | None, tensors: Sequence[Tensor]) -> Quantizer | None:
    """The grid of a tensor; None if it has no scale, or if its type is no grid.

    `details` replace scale, zero point and dimension (schema.fbs): blocks, or several dimensions at once, with scales that
    are tensors of the subgraph. A zero point that is left out is 0.
    """
    if parameters is None or (dtype not in INTEGER_RANGES and dtype not in FLOAT_GRIDS):
        return None
    details = parameters["details"]
    if details is not None and "scales" in details:
        return _of_details(details, dtype, shape, tensors)
    scale, zero_point = parameters["scale"] or (), parameters["zero_point"] or ()
    if not len(scale):
        return None
    channels = len(scale) > 1
    return _grid(
        dtype, scale, zero_point if len(zero_point) else (0,) * len(scale), (len(scale),) if channels else (),
        zero_point_shape=(len(zero_point),) if channels and len(zero_point) else () if len(zero_point) else None,
        granularity="channel" if channels else "tensor", axis=parameters["quantized_dimension"] if channels else None,
    )  # fmt: skip


def _of_details(details: Table, dtype: str, shape: Shape | None, tensors: Sequence[Tensor]) -> Quantizer | None:
    scale, zero_point = _tensor(details["scales"], tensors), _tensor(details["zero_points"], tensors)
    if scale is None:
        return None
    size = math.prod(d for d in scale.shape or () if isinstance(d, int))
    dimensions: Sequence[int] = details.get("quantized_dimensions") or ()
    sizes: Sequence[int] = details.get("block_shape") or ()
    along = next((axis for axis in reversed(range(len(sizes))) if sizes[axis] > 1), None)  # of blocks in several dimensions the last one
    block = max(details["block_size"] or (0 if along is None else sizes[along]), 0)
    axis = (_blocked(shape, scale.shape, block) if along is None else along) if block else dimensions[0] if dimensions else None
    several = not block and len(dimensions) > 1  # a scale for each element of several dimensions: blocks of one along the last
    return _grid(
        dtype, _values(scale), (0,) if zero_point is None else _values(zero_point), tuple(d for d in scale.shape or () if isinstance(d, int)),
        zero_point_shape=None if zero_point is None else tuple(d for d in zero_point.shape or () if isinstance(d, int)),
        granularity="block" if block or several else "tensor" if size == 1 else "channel", axis=dimensions[-1] if several else axis,
        block_size=1 if several else block,
    )  # fmt: skip


def _grid(dtype: str, scale: Sequence[float] | None, zero_point: Sequence[float] | None, scale_shape: tuple[int, ...], **more: Any) -> Quantizer:
    low, high = INTEGER_RANGES[dtype] if dtype in INTEGER_RANGES else (-FLOAT_GRIDS[dtype], FLOAT_GRIDS[dtype])
    grid: Any = "float" if dtype in FLOAT_GRIDS else "affine"
    return Quantizer(dtype, scale, zero_point, scale_shape, qmin=low, qmax=high, grid=grid, origin="qoperator", **more)


def _tensor(index: int, tensors: Sequence[Tensor]) -> Tensor | None:
    return tensors[index] if 0 <= index < len(tensors) else None


def _values(tensor: Tensor) -> Sequence[float] | None:
    if tensor.data is None:
        return None
    size = math.prod(tensor.data.shape)
    return tensor.data.values() if size <= MAX_EAGER else Numbers(tensor.data, size)


def _blocked(shape: Shape | None, scales: Shape | None, block: int) -> int | None:
    """The dimension along which the blocks lie: where there is one scale for so many elements. It is the last one if nothing tells."""
    if shape is None:
        return None
    if scales is not None and len(scales) == len(shape):
        for axis in reversed(range(len(shape))):
            d, s = shape[axis], scales[axis]
            if isinstance(d, int) and isinstance(s, int) and d == s * block:
                return axis
    return len(shape) - 1


def fake_grid(op: Op) -> Quantizer:
    """The grid of a FAKE_QUANT node: its range, moved so that zero is on it, in float as the kernel does; unknown if that is none.

    NudgeQuantizationRange in tflite/kernels/internal/quantization_util.cc.
    """
    low, high, bits = op.attrs.get("min", 0.0), op.attrs.get("max", 0.0), op.attrs.get("num_bits", 0)
    unknown = Quantizer("uint8", None, None, origin="fake-quant")
    if not 2 <= bits <= 16 or not low < high:
        return unknown
    qmin, qmax = int(bool(op.attrs.get("narrow_range"))), (1 << bits) - 1
    try:
        scale = _single(_single(high - low) / (qmax - qmin))
        zero_point = min(max(math.floor(_single(qmin - _single(low / scale)) + 0.5), qmin), qmax)
    except (OverflowError, ZeroDivisionError):  # a range that float does not hold
        return unknown
    return Quantizer("uint8" if bits <= 8 else "uint16", (scale,), (zero_point,), zero_point_shape=(), qmin=qmin, qmax=qmax, origin="fake-quant")


def _single(value: float) -> float:
    number: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return number


def hybrid(op: Op) -> Quantizer | None:
    """The grid on which a kernel for float activations and integer weights puts its input at every run; None if it does not.

    Symmetric over [-127, 127] for each batch, or with a zero point if `asymmetric_quantize_inputs` is set
    (tflite/kernels/internal/reference/portable_tensor_utils.cc). XNNPACK always takes a zero point.
    """
    x = op.uses.get("x")
    if op.native not in HYBRID or x is None or x.tensor.dtype != "float32":
        return None
    if not any(use.tensor.quantizer is not None and use.tensor.dtype in HYBRID[op.native] for role, use in op.uses.items() if role != "x"):
        return None
    asymmetric = bool(op.attrs.get("asymmetric_quantize_inputs"))
    return Quantizer(
        "int8", None, None if asymmetric else (0,), qmin=-128 if asymmetric else -127, qmax=127, dynamic=True, origin="dynamic",
        zero_point_shape=() if asymmetric else None,
    )  # fmt: skip
