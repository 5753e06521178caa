"""Quantizers of PyTorch: what quantized tensors, packed weights and the operators on them say of their grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qlint.graph import INTEGER_RANGES, Quantizer
from qlint.graph.values import Numbers

MAX_EAGER = 4096  # scales that are read at once
OBSERVED = ("min_val", "max_val", "histogram")  # buffers in which observers keep what they saw (torch/ao/quantization/observer.py)
# Grids that PyTorch's quantized kernels give their results whatever they are asked for (ATen/native/quantized/cpu/kernels).
FIXED: dict[str, tuple[float, int]] = {"sigmoid": (1 / 256, 0), "hard_sigmoid": (1 / 256, 0), "tanh": (2 / 256, 128)}


def numbers_of(value: Any) -> tuple[Sequence[float] | None, tuple[int, ...]]:
    """(values, shape) of a scale or zero point: a number, or constant data; None if it is only known when the network runs."""
    if isinstance(value, (int, float)):
        return (value,), ()
    if isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value):
        return tuple(value), (len(value),)
    if hasattr(value, "values"):  # constant data
        length = math.prod(value.shape)
        return (value.values() if length <= MAX_EAGER else Numbers(value, length)), value.shape
    return None, ()


def grid(
    storage: str, scale: Any, zero_point: Any, axis: int | None = None, bounds: tuple[int, int] | None = None, origin: Any = "qoperator", **more: Any
) -> Quantizer:  # fmt: skip
    """The quantizer with this scale and zero point. With `bounds` its codes lie between them, whatever holds them. `more` are further fields of it."""
    scales, shape = numbers_of(scale)
    zeros, zero_shape = numbers_of(zero_point)
    low, high = bounds or INTEGER_RANGES.get(storage, (0, 0))
    per_channel = axis is not None
    if zeros is not None and not isinstance(zeros, Numbers) and set(map(type, zeros)) != {int} and (whole := tuple(z if isinstance(z, int) else int(z) for z in zeros)) == tuple(zeros):
        zeros = whole
    return Quantizer(storage, scales, zeros, **{
        "scale_shape": shape, "zero_point_shape": zero_shape, "granularity": "channel" if per_channel else "tensor", "axis": axis, "qmin": low, "qmax": high,
        "dynamic": scales is None, "origin": origin, **more,
    })  # fmt: skip


def rounded(own: Quantizer) -> Quantizer:
    """The grid of an operator whose zero point is learned in float, and rounded and clamped where it is used (ATen/native/quantized/FakeQuantPerTensorAffine.cpp)."""
    zeros = own.zero_point
    if zeros is None or isinstance(zeros, Numbers) or not all(map(math.isfinite, zeros)):
        return own
    return replace(own, zero_point=tuple(int(min(max(round(z), own.qmin), own.qmax)) for z in zeros))


def dynamic(reduced: bool) -> Quantizer:
    """What a dynamic kernel does to its input: its range is measured on each run (fbgemm leaves one bit out where asked to)."""
    return grid("uint8", None, None, bounds=(0, 127) if reduced else None, origin="dynamic", dynamic=True)


def shifted(own: Quantizer, kind: str, number: Any) -> Quantizer:
    """The grid after a number is added or multiplied, which changes the grid and not the codes (ATen/native/quantized/cpu/qmul.cpp, qadd.cpp).

    Where that does not fit into the codes, they are computed anew on a grid that is not followed here.
    """
    pair = next(own.pairs(), None)
    if pair is None or not isinstance(number, (int, float)) or isinstance(number, bool):
        return grid(own.storage, None, None)
    scale, zero_point = pair
    if kind == "mul" and number != 0:
        flipped = own.qmin + own.qmax - zero_point
        return grid(own.storage, abs(number) * scale, zero_point if number > 0 else flipped)
    moved = zero_point - round(number / scale) if kind == "add" and scale else own.qmax + 1
    return grid(own.storage, scale, moved) if own.qmin <= moved <= own.qmax else grid(own.storage, None, None)
