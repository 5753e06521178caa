"""How a converter quantizes: the grids that each kind of tensor gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np

from .net import INTEGERS, Array, Grid, Net, Op, Tensor

# The axis of a weight that holds the output channels.
OUT_AXIS = {"DEPTHWISE_CONV_2D": 3}
WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}  # operator → slot of the weight
BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
DATA = {"TRANSPOSE_CONV": 2, "SPLIT": 1, "SELECT_V2": 1, "EMBEDDING_LOOKUP": 1}  # slot of the activation, where it is not the first
HYBRID = frozenset(WEIGHTED) | {"BATCH_MATMUL"}
SHARED = frozenset(
    "AVERAGE_POOL_2D MAX_POOL_2D RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE PAD PADV2 MIRROR_PAD GATHER GATHER_ND SLICE STRIDED_SLICE SPACE_TO_DEPTH "
    "DEPTH_TO_SPACE BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR CONCATENATION PACK UNPACK SPLIT SPLIT_V TILE REVERSE_V2 "
    "MAXIMUM MINIMUM REDUCE_MAX REDUCE_MIN BROADCAST_TO SELECT_V2 SELECT TOPK_V2 FILL CUMSUM ROLL DYNAMIC_UPDATE_SLICE SCATTER_ND".split()
)
FIXED = {  # operator → grid of the output by type
    "SOFTMAX": {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)},
    "LOGISTIC": {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)},
    "TANH": {"int8": (1 / 128, 0), "uint8": (1 / 128, 128), "int16": (1 / 32768, 0)},
    "L2_NORMALIZATION": {"int8": (1 / 128, 0), "uint8": (1 / 128, 128), "int16": (1 / 32768, 0)},
    "LOG_SOFTMAX": {"int8": (16 / 256, 127), "uint8": (16 / 256, 255)},
}


@dataclass(frozen=True)
class Style:
    """`act` and `weight` are types, "" for floats."""

    act: str = "int8"
    weight: str = "int8"
    bias: str = "int32"
    channel: bool = True  # weights per output channel

    def but(self, **changes: Any) -> Style:
        return replace(self, **changes)


STYLES = {
    "s8": Style(),
    "s8-tensor": Style(channel=False),
    "s16": Style("int16", bias="int64"),
    "s16-s32": Style("int16"),
    "u8": Style("uint8", "uint8", channel=False),
    "s4": Style(weight="int4"),
    "hybrid": Style("", bias=""),
    "hybrid-s4": Style("", "int4", bias=""),
    "hybrid-tensor": Style("", bias="", channel=False),
    "float": Style("", "", ""),
}


def of_range(dtype: str, low: float, high: float) -> Grid:
    """The grid that a min/max calibration chooses; 16 bits are symmetric."""
    qmin, qmax = INTEGERS[dtype]
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype == "int16":
        return Grid(dtype, max(-low, high) / qmax, 0)
    scale = (high - low) / (qmax - qmin)
    return Grid(dtype, scale, round(qmin - low / scale))


def of_weights(values: Array, dtype: str, axis: int | None) -> Grid:
    """Symmetric on a narrow range, except for uint8, which is asymmetric."""
    top = INTEGERS[dtype][1]
    if dtype == "uint8":
        return of_range("uint8", float(values.min()), float(values.max()))
    if axis is None:
        return Grid(dtype, max(float(np.abs(values).max()), 1e-3) / top, 0)
    peaks = np.abs(values).max(axis=tuple(n for n in range(values.ndim) if n != axis))
    scales = tuple(float(p) / top for p in np.maximum(peaks, 1e-3).ravel())
    return Grid(dtype, scales, (0,) * len(scales), axis)


def of_bias(x: Grid, w: Grid, dtype: str, factor: float = 1.0) -> Grid:
    """scale(x) · scale(w)."""
    step = x.scales[0]
    scales = tuple(step * s * factor for s in w.scales)
    return Grid(dtype, scales, (0,) * len(scales)) if isinstance(w.scale, tuple) else Grid(dtype, scales[0], 0)


def activation(tensor: Tensor, dtype: str) -> Grid | None:
    """Stretched by up to 15 %, so that no two tensors agree by accident."""
    if not dtype:
        return None
    stretch = 1 + crc32(tensor.name.encode()) % 150 / 1000
    return of_range(dtype, tensor.span[0] * stretch, tensor.span[1] * stretch)


def quantize(net: Net, style: Style) -> None:
    """Give every tensor of a float network the grid that `style` has for it."""
    for name in net.inputs:
        if not net.tensors[name].dtype:
            net.tensors[name].grid = activation(net.tensors[name], style.act)
    for op in net.ops:
        _constants(net, op, style)
        for name in op.outputs:
            if not net.tensors[name].dtype:
                net.tensors[name].grid = _result(net, op, name, style)
        fit_bias(net, op, style)


def data(op: Op) -> int:
    return DATA.get(op.kind, 0)


def _constants(net: Net, op: Op, style: Style) -> None:
    for slot, name in enumerate(op.inputs):
        tensor = net.tensors.get(name)
        if tensor is None or tensor.values is None or tensor.dtype or tensor.grid or slot == BIAS.get(op.kind):
            continue
        if slot == WEIGHTED.get(op.kind):
            if style.weight:
                axis = OUT_AXIS.get(op.kind, 0) if style.channel else None
                tensor.grid = of_weights(tensor.values, style.weight, axis)
        elif op.kind == "BATCH_MATMUL" and not style.act:
            tensor.grid = of_weights(tensor.values, style.weight, None) if style.weight else None
        elif style.act:
            first = net.tensors[op.inputs[data(op)]].grid
            tensor.grid = first if op.kind in SHARED and first else of_range(style.act, float(tensor.values.min()), float(tensor.values.max()))


def _result(net: Net, op: Op, name: str, style: Style) -> Grid | None:
    source = net.tensors[op.inputs[data(op)]] if op.inputs else None
    if not style.act:
        return None
    if op.kind in FIXED and style.act in FIXED[op.kind]:
        return Grid(style.act, *FIXED[op.kind][style.act])
    if op.kind in SHARED and source is not None and source.grid is not None:
        for other in op.inputs:  # all of them get one grid, as a converter does
            tensor = net.tensors.get(other)
            if op.kind in ("CONCATENATION", "MAXIMUM", "MINIMUM", "PACK", "SELECT_V2", "SELECT", "PADV2", "DYNAMIC_UPDATE_SLICE") and tensor and tensor.grid:
                tensor.grid = source.grid
        return source.grid
    return activation(net.tensors[name], style.act)


def fit_bias(net: Net, op: Op, style: Style, factor: float = 1.0) -> None:
    """The bias on the grid of the accumulator."""
    slot = BIAS.get(op.kind)
    if slot is None or slot >= len(op.inputs) or not op.inputs[slot] or not style.bias:
        return
    x, w = net.tensors[op.inputs[data(op)]].grid, net.tensors[op.inputs[WEIGHTED[op.kind]]].grid
    if x and w and x.scales and w.scales:
        if x.dtype == "int16" and op.kind != "DEPTHWISE_CONV_2D":  # the kernel goes by what the operator says, not by the tensor
            op.options["quantizedBiasType"] = style.bias.upper()
        net.tensors[op.inputs[slot]].grid = of_bias(x, w, style.bias, factor)
