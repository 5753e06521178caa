"""Quantizers: the grid that maps real numbers to integers, with every fact derived exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from qlint.graph.lazy import lazy

if TYPE_CHECKING:
    from qlint.graph.model import Op

Granularity = Literal["tensor", "channel", "block"]
# Of `affine` grids the levels are evenly spaced and hold an exact zero (or could); `bipolar` has the two levels -scale
# and +scale; `codebook` has levels, or steps between them, that follow no formula.
Grid = Literal["affine", "float", "log", "codebook", "bipolar"]
# `decomposed` is spelled out in ordinary arithmetic, an `annotation` stands beside the nodes: runtimes take neither for a quantizer.
Origin = Literal["qdq", "fake-quant", "qoperator", "requantize", "dynamic", "encodings", "decomposed", "annotation"]
UNSEEN: frozenset[str] = frozenset({"decomposed", "annotation"})
# How a number between two levels is rounded: to the nearest level (ties: `half_...`), or always to one side. `up` is away from zero.
Rounding = Literal["half_even", "half_up", "half_down", "floor", "ceil", "up", "down"]

# Inclusive bounds of every integer container, in units of the grid.
INTEGER_RANGES: dict[str, tuple[int, int]] = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "u")
    for bits in (2, 4, 8, 16, 32, 64)
}
# Types of positions, sizes and conditions: numbers that no quantizer may round.
COUNTS = frozenset({"int32", "int64", "uint32", "uint64", "bool"})
# Largest finite value of the 4- to 8-bit float formats (OCP FP8 and MX specifications, ONNX float8 page).
FLOAT_GRIDS: dict[str, float] = {
    "float8e4m3fn": 448.0,
    "float8e4m3fnuz": 240.0,
    "float8e5m2": 57344.0,
    "float8e5m2fnuz": 57344.0,
    "float6e2m3": 7.5,
    "float6e3m2": 28.0,
    "float4e2m1": 6.0,
}
POT_TOLERANCE = 1e-6
# The opset of the default domain in which QuantizeLinear and DequantizeLinear got a type (ONNX, Operator Changelog).
TYPE_SINCE: dict[str, int] = {
    "int8": 10, "uint8": 10, "int32": 10, **dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"), 19),
    **dict.fromkeys(("int4", "uint4", "int16", "uint16"), 21), "float4e2m1": 23, "int2": 25, "uint2": 25, "float6e2m3": 28, "float6e3m2": 28,
}  # fmt: skip
CHANNELS_SINCE, BLOCKS_SINCE = 13, 21  # opsets in which the two operators got `axis` and `block_size`


def container(low: float, high: float) -> str:
    """The smallest integer type that holds all codes from `low` to `high`; '' if there is none."""
    fits = (name for name, (least, most) in INTEGER_RANGES.items() if least <= low and high <= most and (least < 0) == (low < 0))
    return next(fits, "") if low < high else ""


@dataclass(frozen=True)
class Quantizer:
    """One quantizer: `real = scale * (q - zero_point)`, `q` clamped to `[qmin, qmax]`.

    `scale` and `zero_point` hold one value for the tensor, one per channel of `axis`, or one per
    block; `None` means that the file does not hold them as constants. Two quantizers are equal when
    they describe the same grid: where they stand in the file (`quantize`, `dequantize`, `readers`,
    `origin`) is not compared, the shape of the scale is (some kernels read it).
    """

    storage: str
    scale: Sequence[float] | None  # a tuple, or something that reads like one when it is long
    zero_point: Sequence[float] | None
    scale_shape: tuple[int, ...] = ()
    zero_point_shape: tuple[int, ...] | None = None  # None: the file leaves the zero point out
    granularity: Granularity = "tensor"
    axis: int | None = None
    block_size: int = 0
    qmin: float = 0
    qmax: float = 255
    grid: Grid = "affine"
    dynamic: bool = False
    rounding: Rounding = "half_even"
    origin: Origin = field(default="qdq", compare=False)
    quantize: Op | None = field(default=None, compare=False, repr=False)
    dequantize: Op | None = field(default=None, compare=False, repr=False)
    # How many edges leave the node that quantizes, dead DequantizeLinears included.
    readers: int = field(default=1, compare=False)
    # The other grid, when the integers are read back on one that differs from the writing one.
    read_as: Quantizer | None = field(default=None, compare=False)
    algorithm: str | None = field(default=None, compare=False)
    # Of a fake quantizer that brings its observer along: whether each run still moves the range, and whether it never saw a number.
    observing: bool = field(default=False, compare=False)
    uncalibrated: bool = field(default=False, compare=False)
    # (lowest, highest) value that was seen, where the file says so beside scale and zero point: of the tensor, or of each group.
    observed: tuple[tuple[float, float], ...] = field(default=(), compare=False)

    def placed(self, **where: Any) -> Quantizer:
        """The same grid at another place of the file: other `quantize`, `dequantize`, `readers` or `read_as`."""
        other: Quantizer = object.__new__(Quantizer)
        other.__dict__.update(self.__dict__, **where)  # what is derived from the grid holds there too
        return other

    @lazy
    def _hash(self) -> int:
        return hash((self.storage, self.scale, self.zero_point, self.axis, self.block_size))

    def __hash__(self) -> int:
        return self._hash

    @property
    def constant(self) -> bool:
        """Whether scale and zero point stand in the file."""
        return self.scale is not None and self.zero_point is not None

    @property
    def signed(self) -> bool:
        return self.qmin < 0

    @lazy
    def levels(self) -> int:
        """Number of integers on the grid (of a float grid: of its codes); 0 if it is not known."""
        if self.grid == "float":
            return 1 << int("".join(c for c in self.storage.split("e")[0] if c.isdigit()) or 8)
        return 2 if self.grid == "bipolar" else int(self.qmax - self.qmin) + 1 if self.qmin < self.qmax else 0

    @lazy
    def bits(self) -> int:
        """Bits that hold all levels, whatever the container; 0 if it is not known."""
        return max(1, (self.levels - 1).bit_length()) if self.levels else 0

    @lazy
    def zero_point_class(self) -> frozenset[str]:
        """Which of `zero`, `nonzero`, `qmin`, `mid`, `byte` (fits into int8) describe the zero points: all of them must agree."""
        zps = self.zero_point
        if zps is None:
            return frozenset()
        mid = {(self.qmin + self.qmax + 1) / 2, (self.qmin + self.qmax) / 2}
        facts = {
            "zero": all(z == 0 for z in zps),
            "nonzero": any(z != 0 for z in zps),
            "qmin": all(z == self.qmin for z in zps),
            "mid": all(z in mid for z in zps),
            "byte": all(-128 <= z <= 127 for z in zps),
        }
        return frozenset(name for name, holds in facts.items() if holds)

    @property
    def symmetric(self) -> bool:
        """Zero sits in the middle of the grid (uint8 with 128 is symmetric, uint8 with 0 is not)."""
        return "mid" in self.zero_point_class or (self.signed and "zero" in self.zero_point_class)

    @property
    def narrow(self) -> bool:
        """The most negative code is unused: [-127, 127] and not [-128, 127]."""
        low, high = INTEGER_RANGES.get(self.storage, (self.qmin, self.qmax))
        return self.qmin == low + 1 and self.qmax == high

    @lazy
    def power_of_two(self) -> bool:
        """Every scale is 2**k, relative tolerance 1e-6."""
        return self.scale is not None and all(_is_power_of_two(s) for s in self.scale)

    @lazy
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest real value over all groups, or None if the parameters are unknown."""
        pairs = list(self.pairs())
        if not pairs:
            return None
        ends = [s * (end - z) for s, z in pairs for end in (self.qmin, self.qmax)]
        return min(ends), max(ends)

    def pairs(self) -> Iterator[tuple[float, float]]:
        """(scale, zero_point) for each group; nothing if one of them is unknown."""
        if self.scale is None or self.zero_point is None:
            return
        zps = self.zero_point
        if len(zps) == len(self.scale):
            yield from zip(self.scale, zps, strict=True)
        else:
            yield from ((s, zps[0] if zps else 0) for s in self.scale)

    def __str__(self) -> str:
        storage = self.storage or "of an unknown type"
        if self.scale is None:
            return f"{storage}, scale not constant"
        scale = f"scale {self.scale[0]:.6g}" if len(self.scale) == 1 else f"{len(self.scale)} scales"
        zp = ""
        if self.zero_point and self.grid == "affine":
            distinct = sorted(set(self.zero_point))
            zp = f", zero point {distinct[0]:g}" if len(distinct) == 1 else f", zero points {distinct[0]:g}..{distinct[-1]:g}"
        where = {"tensor": "", "channel": f" per channel (axis {self.axis})", "block": f" per block of {self.block_size}"}
        told = f" (from {self.quantize.source})" if self.origin == "encodings" and self.quantize is not None else ""
        return f"{storage}{where[self.granularity]}, {scale}{zp}{told}"


def left_behind(scale: float, zero_point: float, low: float, high: float, qmin: float, qmax: float) -> int | None:
    """The zero point that belongs to a power-of-two scale and the range from `low` to `high`, if `zero_point` is still that of another scale.

    That is the scale that follows from the range: it was rounded to a power of two, and the zero point not computed again. A
    difference of one step may be rounding. None where nothing of it is so, or cannot be told.
    """
    low, high = min(low, 0.0), max(high, 0.0)  # zero is on every grid (torch/ao/quantization/utils.py, determine_qparams)
    if not (_is_power_of_two(scale) and low < high and math.isfinite(high - low)):
        return None
    before = (high - low) / (qmax - qmin)
    if not 0.49 < before / scale < 2.05 or abs(before / scale - 1) < 1e-3:
        return None
    was, belongs = (min(max(round(qmin - low / step), qmin), qmax) for step in (before, scale))
    return int(belongs) if abs(was - zero_point) <= 0.5 and abs(belongs - zero_point) > 1 else None


def _is_power_of_two(value: float) -> bool:
    if not value > 0 or math.isinf(value):
        return False
    mantissa, _ = math.frexp(value)
    return abs(mantissa - 0.5) <= 0.5 * POT_TOLERANCE or abs(mantissa - 1.0) <= POT_TOLERANCE
