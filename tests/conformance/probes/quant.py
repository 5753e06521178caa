"""Quantizers as data: storage types, one Q/DQ pair, the series of pairs on a tensor, and how to choose them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Storage:
    """A type that quantized values are stored in."""

    onnx: int
    numpy: Any
    qmin: int
    qmax: int

    @property
    def mid(self) -> int:
        """The zero point of a symmetric grid."""
        return 0 if self.qmin < 0 else (self.qmax + 1) // 2


STORAGE = {
    "u8": Storage(TensorProto.UINT8, np.uint8, 0, 255),
    "s8": Storage(TensorProto.INT8, np.int8, -128, 127),
    "u16": Storage(TensorProto.UINT16, np.uint16, 0, 65535),
    "s16": Storage(TensorProto.INT16, np.int16, -32768, 32767),
    "s32": Storage(TensorProto.INT32, np.int32, -(2**31), 2**31 - 1),
    "u4": Storage(TensorProto.UINT4, ml_dtypes.uint4, 0, 15),
    "s4": Storage(TensorProto.INT4, ml_dtypes.int4, -8, 7),
    "u2": Storage(TensorProto.UINT2, ml_dtypes.uint2, 0, 3),
    "s2": Storage(TensorProto.INT2, ml_dtypes.int2, -2, 1),
    "f8e4": Storage(TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, -448, 448),
    "f8e5": Storage(TensorProto.FLOAT8E5M2, ml_dtypes.float8_e5m2, -57344, 57344),
}

SINCE = {"u16": 21, "s16": 21, "u4": 21, "s4": 21, "f8e4": 19, "f8e5": 19, "u2": 25, "s2": 25}  # opset
FLOAT_STORAGE = frozenset({"f8e4", "f8e5"})

# Activation grids by the name used in probe ids: storage, symmetric. A trailing "a" is asymmetric.
GRIDS = {
    "u8": ("u8", False), "s8": ("s8", True), "s8a": ("s8", False),
    "u16": ("u16", False), "s16": ("s16", True), "s16a": ("s16", False),
    "u8s": ("u8", True), "u4": ("u4", False), "s4": ("s4", True), "f8e4": ("f8e4", True), "s32": ("s32", True),
}  # fmt: skip


@dataclass(frozen=True)
class Quant:
    """One QuantizeLinear/DequantizeLinear pair.

    `scale` and `zero` are a number or, per channel and per block, a tuple in the order of `shape`.
    `zero=None` leaves the zero-point input away. `dq` gives the DequantizeLinear other parameters.
    """

    dtype: str = "u8"
    scale: float | tuple[float, ...] = 0.02
    zero: int | tuple[int, ...] | None = 0
    shape: tuple[int, ...] = ()
    axis: int | None = None
    block: int = 0
    domain: str = ""
    dq: Quant | None = None

    def but(self, **changes: Any) -> Quant:
        return replace(self, **changes)

    def times(self, factor: float) -> Quant:
        """The same with its scale multiplied."""
        scale = tuple(s * factor for s in self.scale) if isinstance(self.scale, tuple) else self.scale * factor
        return self.but(scale=scale)

    @property
    def storage(self) -> Storage:
        return STORAGE[self.dtype]

    @property
    def since(self) -> int:
        """The first opset whose QuantizeLinear and DequantizeLinear can say this."""
        if self.domain:
            return 1
        granular = 21 if self.block else 13 if self.axis is not None else 10
        return max(granular, SINCE.get(self.dtype, 10))

    @property
    def vector(self) -> Quant:
        """The same with scale and zero point of shape [1]."""
        return self.but(shape=(1,)) if self.shape == () else self

    def scales(self) -> Array:
        return np.broadcast_to(np.array(self.scale, np.float32), (math.prod(self.shape),)).reshape(self.shape)

    def zeros(self) -> Array:
        zero = np.broadcast_to(np.array(self.zero or 0), (math.prod(self.shape),)).reshape(self.shape)
        return zero.astype(self.storage.numpy)

    def store(self, values: Array) -> Array:
        """`values` on this grid, as the integers that a file would hold."""
        scale, zero = self.scales().astype(np.float64), self.zeros().astype(np.float64)
        if self.block:
            scale, zero = (np.repeat(a, self.block, axis=self.axis) for a in (scale, zero))
        elif self.axis is not None and scale.ndim == 1:
            onto = [1] * values.ndim
            onto[self.axis] = -1
            if values.shape[self.axis] == scale.size or scale.size == 1:
                scale, zero = scale.reshape(onto), zero.reshape(onto)
            else:  # a scale that does not fit the axis: such a file is broken on purpose, any integers do
                scale, zero = scale.flat[0], zero.flat[0]
        levels = values / np.where(scale == 0, 1, scale) + zero
        if self.dtype not in FLOAT_STORAGE:
            levels = np.clip(np.rint(np.nan_to_num(levels)), self.storage.qmin, self.storage.qmax)
        return levels.astype(self.storage.numpy)


@dataclass(frozen=True)
class Series:
    """What stands between a tensor's producer and its readers.

    per_use: each reader has Q/DQ pairs of its own · dq_per_use: one Q, each reader its own DQ · dead: DQ nodes
    nobody reads · folded: a constant is stored as integers, without Q · starts_at_dq: the graph input itself is
    the integer tensor · ends_at_q: the graph output is · via: a node between the last DQ and the reader: Identity, Reshape to via_shape, or
    Transpose of the last two axes.
    """

    pairs: tuple[Quant, ...] = ()
    per_use: bool = False
    dq_per_use: bool = False
    dead: int = 0
    folded: bool = False
    starts_at_dq: bool = False
    ends_at_q: bool = False
    via: str = ""
    via_shape: tuple[int, ...] = ()

    def but(self, **changes: Any) -> Series:
        return replace(self, **changes)


def of_range(grid: str, low: float, high: float) -> Quant:
    """The quantizer a min/max calibration would choose for `[low, high]`."""
    dtype, symmetric = GRIDS[grid]
    store = STORAGE[dtype]
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return Quant(dtype, max(-low, high) / (store.qmax - store.mid), store.mid)
    scale = (high - low) / (store.qmax - store.qmin)
    return Quant(dtype, scale, round(store.qmin - low / scale))


def of_weights(values: Array, dtype: str, axis: int | None = None, block: int = 0, zero: int | None = None) -> Quant:
    """A symmetric quantizer for weights: per tensor, per channel of `axis`, or in blocks along it."""
    store = STORAGE[dtype]
    zero = store.mid if zero is None else zero
    top = store.qmax if dtype in FLOAT_STORAGE else max(store.qmax - store.mid, 1)
    if axis is None:
        return Quant(dtype, float(np.abs(values).max()) / top, zero)
    axis %= values.ndim
    if block:
        shape = list(values.shape)
        shape[axis : axis + 1] = [shape[axis] // block, block]
        peaks = np.abs(values.reshape(shape)).max(axis=axis + 1)
    else:
        peaks = np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis))
    scale = tuple(float(p) / top for p in np.maximum(peaks, 1e-3).ravel())
    return Quant(dtype, scale, (zero,) * len(scale), peaks.shape, axis, block)


def of_bias(x: Quant, w: Quant, factor: float = 1.0) -> Quant:
    """int32 with scale(x) · scale(w), which is what an integer accumulator can take."""
    step = x.scale if isinstance(x.scale, float) else x.scale[0]
    if isinstance(w.scale, tuple) and not w.block:
        return Quant("s32", tuple(step * s * factor for s in w.scale), (0,) * len(w.scale), w.shape, 0)
    scale = w.scale[0] if isinstance(w.scale, tuple) else w.scale
    return Quant("s32", step * scale * factor, 0)
