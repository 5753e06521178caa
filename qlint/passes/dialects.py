"""What the quantizer nodes of other tools say: one function for each way of saying it, all giving the same kind of fact.

A fake-quantize node rounds real numbers to a grid and hands on real numbers, so no integers are stored anywhere. `storage` is
then the smallest integer type that the codes fit into, which is what a deployed file would use. What a node leaves open
(a bit width that is computed, an unknown rounding mode) stays unknown and is noted; nothing is assumed.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from qlint.graph import FLOAT_GRIDS, INTEGER_RANGES, Data, Op, Quantizer, Shape, Tensor, container
from qlint.graph.quantizer import Granularity, Rounding
from qlint.graph.values import Numbers
from qlint.passes.constants import MAX_ELEMENTS

Values = Sequence[float]
# QONNX's names of rounding modes (qonnx, custom_op/general/intquant.py).
ROUNDING: dict[str, Rounding] = {
    "ROUND": "half_even", "HALF_EVEN": "half_even", "CEIL": "ceil", "FLOOR": "floor", "UP": "up", "DOWN": "down",
    "HALF_UP": "half_up", "HALF_DOWN": "half_down",
}  # fmt: skip
# Float formats with a name of their own, by bits of exponent and mantissa, bias and largest number (OCP FP8 and MX, ONNX float8).
_FLOATS = {
    (4, 3, 7, 448.0): "float8e4m3fn", (4, 3, 8, 240.0): "float8e4m3fnuz", (5, 2, 15, 57344.0): "float8e5m2",
    (5, 2, 16, 57344.0): "float8e5m2fnuz", (2, 3, 1, 7.5): "float6e2m3", (3, 2, 3, 28.0): "float6e3m2", (2, 1, 1, 6.0): "float4e2m1",
}  # fmt: skip
_WIDE = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}  # types that tensors have, too; Quark writes a cast to them as a quantizer
_ALGORITHMS = {"Learnable": "LSQ", "DSQ": "DSQ", "Tqt": "TQT", "NNIE": "logarithmic"}  # MQBench names its operators after what trained them
MAX_BITS = 32
WHOLE = 1e-3  # levels: how far a zero point that was computed in float32 may lie beside the integer that it is


class Dialects:
    """Reads quantizer nodes, and collects what could not be understood."""

    def __init__(self) -> None:
        self.unread: dict[str, list[str]] = defaultdict(list)  # reason → nodes

    def read(self, op: Op, before: Quantizer | None = None) -> Quantizer:
        """The quantizer that a node of a dialect describes; `before` is the one that its input has already passed."""
        node = _Node(op, self, before)
        try:
            return _READERS[op.native.rpartition("::")[2]](node)
        except (ArithmeticError, LookupError, TypeError, ValueError):  # parameters that no documentation allows
            node.unread("its parameters are not what the operator takes, its grid is not known")
            return Quantizer("", None, None, qmin=0, qmax=0, origin="fake-quant")

    def notes(self) -> Iterator[str]:
        """One sentence for each reason, with the nodes."""
        for reason, nodes in self.unread.items():
            more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
            yield f"{', '.join(nodes[:3])}{more}: {reason}"


class _Node:
    """A node with what it says: inputs and attributes are asked for by the same names."""

    def __init__(self, op: Op, dialects: Dialects, before: Quantizer | None) -> None:
        self.op, self.before, self._dialects = op, before, dialects

    def unread(self, reason: str) -> None:
        self._dialects.unread[reason].append(self.op.label)

    def numbers(self, *names: str) -> Values | None:
        """The values of the first of some inputs or attributes that is there; None if there is none, or it is not constant.

        A value that callers may replace counts with its default: exporters list all initializers as inputs, no one replaces them.
        """
        for name in names:
            if name in self.op.uses:
                return constants(self.op.uses[name].tensor)
            value = self.op.attrs.get(name)
            if isinstance(value, Data):
                return value.values()
            if isinstance(value, (int, float)):
                return (value,)
            if isinstance(value, (list, tuple)) and value:
                return tuple(value)
        return None

    def number(self, *names: str) -> float | None:
        """The one finite number that an input or attribute holds."""
        values = self.numbers(*names)
        value = values[0] if values is not None and len(values) == 1 else None
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None

    def has(self, name: str) -> bool:
        return name in self.op.uses or name in self.op.attrs

    def flag(self, name: str, default: bool) -> bool:
        value = self.number(name)
        return default if value is None else bool(value)

    def shape(self, name: str) -> tuple[int, ...]:
        tensor = self.op.uses[name].tensor if name in self.op.uses else None
        shape = tensor.data.shape if tensor is not None and tensor.data is not None else tensor.shape if tensor is not None else ()
        return tuple(d for d in shape or () if isinstance(d, int))

    @property
    def rounding(self) -> Rounding:
        mode = self.op.attrs.get("rounding_mode", "ROUND")
        if str(mode).upper() not in ROUNDING:
            self.unread(f"the rounding mode {mode!r} is not known, and is taken for rounding to the nearest level")
        return ROUNDING.get(str(mode).upper(), "half_even")

    @property
    def algorithm(self) -> str | None:
        return next((algorithm for part, algorithm in _ALGORITHMS.items() if part in self.op.native), None)

    def quantizer(self, low: float, high: float, *, axis: int | None = None, storage: str = "", scale: str = "scale", zero_point: str = "zero_point", **fields: Any) -> Quantizer:
        """The quantizer with codes from `low` to `high`, and with this node's scale and zero point; both 0 if they are not known."""
        shape, zero_shape = self.shape(scale), self.shape(zero_point)
        zeros = self.numbers(zero_point) if self.has(zero_point) else (0,)
        x = self.op.uses["x"].tensor.shape if "x" in self.op.uses else None
        granularity, axis, block = spread(shape if math.prod(shape) > 1 else zero_shape or shape, x, axis)
        given = {
            "scale_shape": shape, "zero_point_shape": zero_shape, "granularity": granularity, "axis": axis, "block_size": block, "qmin": low, "qmax": high,
            "rounding": self.rounding, "origin": "fake-quant", "algorithm": self.algorithm, **fields,
        }  # fmt: skip
        return Quantizer(storage or container(low, high), self.numbers(scale), zeros, **given)


def constants(tensor: Tensor) -> Values | None:
    """All elements of a constant, those of a long one read when they are looked at."""
    if tensor.data is None:
        return None
    length = math.prod(tensor.data.shape)
    return tensor.data.values() if length <= MAX_ELEMENTS else Numbers(tensor.data, length)


def spread(scale: tuple[int, ...], x: Shape | None, axis: int | None = None) -> tuple[Granularity, int | None, int]:
    """(granularity, axis, block size) of scales that are broadcast to the shape of `x`, or lie along `axis`.

    Scales that differ along one axis are per channel. Along several they belong to blocks: of (64, 8, 1) over (64, 8, 16) the
    blocks have 16 elements along axis 2.
    """
    if math.prod(scale) == 1:
        return "tensor", None, 0
    rank = len(x) if x is not None and len(x) >= len(scale) else max(len(scale), 1)
    if axis is not None and len(scale) <= 1:
        return "channel", axis + rank if axis < 0 else axis, 0
    padded = (1,) * (rank - len(scale)) + scale
    varying = [i for i, size in enumerate(padded) if size != 1]
    if len(varying) == 1:
        return "channel", varying[0], 0
    shared = [i for i, size in enumerate(padded) if size == 1]
    at = shared[-1] if shared else rank - 1
    size = x[at] if x is not None and at < len(x) else None
    return "block", at, size if shared and isinstance(size, int) else 1


def bounds(bits: float, signed: bool, narrow: bool) -> tuple[float, float]:
    """The least and the greatest code of `bits` bits, as QONNX computes them; a width that is not whole leaves both real.

    Raises:
        ValueError: there are more bits than any grid has; two to the power of some numbers would fill the memory.
    """
    if bits > MAX_BITS:
        raise ValueError(bits)
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


# -- QONNX: Brevitas, FINN, hls4ml ------------------------------------------------------------------------


def _quant(node: _Node) -> Quantizer:
    """`Quant` and `IntQuant`. Real numbers are clamped to the bounds before they are rounded."""
    if not node.has("bits") and "scale" in node.op.attrs:
        return _deeploy_quant(node)
    bits, signed = node.number("bits"), node.flag("signed", default=True)
    if bits is None or not 0 < bits <= MAX_BITS:
        node.unread("the bit width is not a constant, its grid is not known" if bits is None else f"a width of {bits:g} bits is no grid")
        return node.quantizer(0, 0)
    if bits == 1 and signed:  # the executor of QONNX makes bipolar numbers of it
        return node.quantizer(-1, 1, storage="bipolar", grid="bipolar")
    low, high = bounds(bits, signed, node.flag("narrow", default=False))
    if bits % 1:
        low, high = round(low), round(high)
        node.unread(f"a width of {bits:g} bits is not whole, the codes go from {low} to {high}")
    return node.quantizer(low, high)


def _bipolar(node: _Node) -> Quantizer:
    return node.quantizer(-1, 1, storage="bipolar", grid="bipolar")


def _float_quant(node: _Node) -> Quantizer:
    """`FloatQuant`: any number of bits for exponent and mantissa, saturating at the largest number."""
    exponent, mantissa = node.number("exponent_bits"), node.number("mantissa_bits")
    if exponent is None or mantissa is None or exponent % 1 or mantissa % 1 or not 0 < 1 + exponent + mantissa <= MAX_BITS:
        node.unread("the bits of exponent and mantissa are not constants, its grid is not known")
        return node.quantizer(0, 0, grid="float", storage="float")
    bias = node.number("exponent_bias")
    bias = 2.0 ** (exponent - 1) - 1 if bias is None else bias
    largest = (2 - 2.0**-mantissa) * 2.0 ** (2.0**exponent - 1 - bias)  # in floats, which overflow: integers would fill the memory
    given = node.number("largest")
    largest = largest if given is None else min(largest, given)
    storage = _FLOATS.get((int(exponent), int(mantissa), int(bias), largest)) or f"float{1 + exponent + mantissa:g}e{exponent:g}m{mantissa:g}"
    return node.quantizer(-largest, largest, storage=storage, grid="float")


def _trunc(node: _Node) -> Quantizer:
    """`Trunc` drops low bits. Version 1 (five inputs) keeps the scale, version 2 (six or more) has one for its output.

    Version 1 says nothing about the sign, which is that of the numbers it gets.
    """
    slots = {use.slot: role for role, use in node.op.uses.items()}
    old = len(slots) <= 5
    bits = node.number(slots.get(4, "bits") if old else slots[max(slots)])
    scale = "scale" if old else slots.get(4, "scale")
    if bits is None or not 0 < bits <= MAX_BITS:
        node.unread("the bit width is not a constant, its grid is not known")
        return node.quantizer(0, 0, scale=scale)
    mode: dict[str, Any] = {} if "rounding_mode" in node.op.attrs else {"rounding": "floor"}
    signed = node.before.signed if old and node.before is not None else node.flag("signed", default=True)
    low, high = bounds(bits, signed, node.flag("narrow", default=False))
    found = node.quantizer(low, high, scale=scale, **mode)
    if old or found.zero_point is None or not any(found.zero_point):
        return found
    ins = node.numbers("scale")
    ratio = [round(math.log2(o / i)) for o, i in zip(found.scale or (), ins or (), strict=False) if o > 0 and i > 0]
    return replace(found, zero_point=tuple(z / 2 ** ratio[0] for z in found.zero_point) if ratio else None)


def _multi_threshold(node: _Node) -> Quantizer:
    """What comes out of a MultiThreshold: `bias + scale * (number of thresholds that x reaches)`.

    The levels are evenly spaced; where the thresholds are not, the steps are not either, and it is a codebook.
    """
    steps = node.shape("thresholds")[-1:]
    scale, bias = node.number("out_scale"), node.number("out_bias")
    scale, bias = 1.0 if scale is None else scale, 0.0 if bias is None else bias
    if not steps:
        node.unread("the thresholds are not constants, its grid is not known")
        return Quantizer("", (scale,), None, qmin=0, qmax=0, grid="codebook", origin="fake-quant")
    first = _whole(bias / scale) if scale else 0.0
    low, high = (first, first + steps[0]) if first % 1 == 0 else (0, steps[0])
    zero = 0.0 if first % 1 == 0 else -first
    values = node.numbers("thresholds")
    even = values is not None and len(values) <= MAX_ELEMENTS and evenly_spaced(values, steps[0])
    return Quantizer(
        container(low, high), (scale,), (zero,), qmin=low, qmax=high, grid="affine" if even else "codebook", origin="fake-quant", rounding="floor"
    )


def evenly_spaced(values: Values, count: int, tolerance: float = 1e-3) -> bool:
    """Whether each row of `count` numbers goes up in equal steps."""
    rows = [values[i : i + count] for i in range(0, len(values), count)]
    for row in rows:
        step = (row[-1] - row[0]) / max(1, count - 1)
        if any(abs(v - (row[0] + i * step)) > tolerance * abs(step) for i, v in enumerate(row)):
            return False
    return True


# -- MQBench, before its exports were QuantizeLinear ------------------------------------------------------


def _mqbench(node: _Node) -> Quantizer:
    """Bounds are inputs or attributes; the channels are along axis 0 unless the node says another one."""
    low, high = node.number("quant_min"), node.number("quant_max")
    if low is None or high is None:
        node.unread("quant_min and quant_max are not constants, its grid is not known")
        low = high = 0
    axis = node.number("axis")
    return node.quantizer(low, high, axis=0 if axis is None else int(axis))


def _nnie(node: _Node) -> Quantizer:
    """HiSilicon's NNIE: 8-bit codes of a logarithm, 16 to the octave; `data_max` says where they end."""
    return node.quantizer(-128, 127, scale="data_max", zero_point="none", grid="log", storage="int8")


# -- OpenVINO ---------------------------------------------------------------------------------------------


def _openvino(node: _Node) -> Quantizer:
    """`FakeQuantize`: `levels` values from in_low to in_high, which come out from out_low to out_high."""
    levels = node.number("levels")
    taken, given = (_between(node, levels, f"{side}_low", f"{side}_high") for side in ("in", "out"))
    if taken is None or given is None:
        node.unread("its ranges are not constants, its grid is not known")
        return node.quantizer(0, 0, scale="none", zero_point="none")
    return taken if taken == given else replace(taken, read_as=given)


def _between(node: _Node, levels: float | None, low: str, high: str) -> Quantizer | None:
    lows, highs = node.numbers(low), node.numbers(high)
    if lows is None or highs is None or levels is None or not 2 <= levels <= 1 << MAX_BITS:
        return None
    shape = max(node.shape(low), node.shape(high), key=lambda shape: (math.prod(shape), len(shape)))
    count = math.prod(shape)
    lows, highs = (tuple(v) * count if len(v) == 1 else tuple(v) for v in (lows, highs))
    scale = tuple((b - a) / (levels - 1) for a, b in zip(lows, highs, strict=False))
    zero = tuple(_whole(-a / s) if s else 0.0 for a, s in zip(lows, scale, strict=True))  # of codes that are counted from 0
    half, least = 2 ** math.ceil(math.log2(levels) - 1), 0.0
    if all(z in (half, half - 1) for z in zero) and len(set(zero)) == 1 and lows[0] < 0:  # zero in the middle: signed codes
        least, zero = -zero[0], (0.0,) * len(zero)
    granularity, axis, block = spread(shape, node.op.uses["x"].tensor.shape if "x" in node.op.uses else None)
    return Quantizer(
        container(least, least + levels - 1), scale, zero, shape, shape, granularity, axis, block, qmin=least, qmax=least + levels - 1, origin="fake-quant",
    )  # fmt: skip


def _whole(value: float) -> float:
    """The integer that a number computed in float32 stands for, or the number."""
    return float(round(value)) if math.isfinite(value) and abs(value - round(value)) <= WHOLE else value


# -- torch's quantized_decomposed, TensorRT's own nodes, ONNX Runtime's training build --------------------


def _with_bounds(node: _Node) -> Quantizer:
    """Scale and zero point are inputs or attributes. The type of the integers is the tensor's, or else what holds the bounds."""
    op = node.op
    stored = op.outputs[0].dtype if op.kind == "quantize" and op.outputs else op.uses["x"].tensor.dtype if "x" in op.uses else ""
    low, high = node.number("quant_min"), node.number("quant_max")
    floats = FLOAT_GRIDS | _WIDE
    if low is None or high is None:
        limit = floats.get(stored)
        low, high = INTEGER_RANGES.get(stored, (0, 0)) if limit is None else (-limit, limit)
    least, most = INTEGER_RANGES.get(stored, (0, 0))
    if stored not in floats and not least <= low < high <= most:
        stored = container(low, high)
    axis = node.number("axis")
    origin = "fake-quant" if op.kind == "fake_quantize" else "qdq"
    return node.quantizer(low, high, axis=1 if axis is None else int(axis), storage=stored, origin=origin, grid="float" if stored in floats else "affine")


# -- Quark: blocks of numbers that share an exponent ------------------------------------------------------

# Types of elements of MXQuantizeDequantize (OCP MX specification 1.0, table 1).
_ELEMENTS = {
    "int8": "int8", "fp8_e5m2": "float8e5m2", "fp8_e4m3": "float8e4m3fn", "fp6_e3m2": "float6e3m2", "fp6_e2m3": "float6e2m3", "fp4_e2m1": "float4e2m1",
}  # fmt: skip
_EXPONENT = 8  # bits of BFPQuantizeDequantize's `bit_width` that all elements of a block share


def _shared_exponent(node: _Node) -> Quantizer:
    """The exponent of a block is that of its largest magnitude, found while the model runs."""
    bits, axis, size = node.number("bit_width"), node.number("axis"), node.number("block_size")
    storage = f"int{int(bits) - _EXPONENT}" if bits else _ELEMENTS[str(node.op.attrs["element_dtype"])]
    low, high = (-FLOAT_GRIDS[storage], FLOAT_GRIDS[storage]) if storage in FLOAT_GRIDS else INTEGER_RANGES[storage]
    rank = node.op.uses["x"].tensor.rank or 0
    along = 1 if axis is None else int(axis)
    return Quantizer(
        storage, None, (0,), granularity="block", axis=along + rank if along < 0 else along, block_size=int(size or 0), qmin=low, qmax=high,
        grid="float" if storage in FLOAT_GRIDS else "affine", dynamic=True, origin="fake-quant",
    )  # fmt: skip


# -- Deeploy: integers from end to end --------------------------------------------------------------------


def _deeploy_quant(node: _Node) -> Quantizer:
    """Deeploy's `Quant` (one input) multiplies with its `scale`; its `Dequant` multiplies with it too."""
    bits, scale = node.number("bit_width"), node.number("scale")
    low, high = bounds(bits, node.flag("signed", default=True), narrow=False) if bits else (0, 0)
    step = None if scale is None or not scale else scale if node.op.kind == "dequantize" else 1 / scale
    return replace(node.quantizer(low, high, rounding="half_up"), scale=None if step is None else (step,))


def _requant_shift(node: _Node) -> Quantizer:
    """`RequantShift`: `(x * mul + add) >> log2(div)`, clamped to `n_levels` integers. What they stand for is not in the file."""
    levels, signed = node.number("n_levels", "n_levels_out"), node.flag("signed", default=True)
    if levels is None or levels < 2:
        node.unread("the number of levels is not a constant, its grid is not known")
        levels = 1
    low = -(levels // 2) if signed else 0
    return Quantizer(
        container(low, low + levels - 1), None, (0,), zero_point_shape=(), qmin=low, qmax=low + levels - 1, rounding="half_up", origin="requantize"
    )


# -- facts beside the nodes -------------------------------------------------------------------------------

_DATATYPE = re.compile(r"(U?INT|SCALEDINT<|FIXED<)(\d+)(?:,(\d+))?>?$")


def annotated(facts: dict[str, str], tensors: dict[str, Tensor]) -> Quantizer | None:
    """What `quantization_annotation` says of a tensor: ONNX's SCALE_TENSOR and ZERO_POINT_TENSOR, or FINN's `finn_datatype`.

    FINN keeps integers in float tensors: the value is the code. Accumulators (more than 16 bits) are no grid of a quantizer.
    """
    scale, zero = tensors.get(facts.get("SCALE_TENSOR", "")), tensors.get(facts.get("ZERO_POINT_TENSOR", ""))
    if scale is not None:
        storage = zero.dtype if zero is not None else ""
        low, high = INTEGER_RANGES.get(storage, (0, 0))
        granularity, axis, block = spread(scale.data.shape if scale.data is not None else (), None, axis=0)
        shape = scale.data.shape if scale.data is not None else ()
        return Quantizer(
            storage, constants(scale), (0,) if zero is None else constants(zero), shape, None if zero is None else shape, granularity, axis, block,
            qmin=low, qmax=high, origin="annotation",
        )  # fmt: skip
    name = facts.get("finn_datatype", "")
    if name in ("BIPOLAR", "TERNARY", "BINARY"):
        low, high = {"BIPOLAR": (-1, 1), "TERNARY": (-1, 1), "BINARY": (0, 1)}[name]
        bipolar = name == "BIPOLAR"
        return Quantizer("bipolar" if bipolar else container(low, high), (1.0,), (0,), qmin=low, qmax=high, grid="bipolar" if bipolar else "affine", origin="annotation")
    found = _DATATYPE.match(name)
    if found is None or not 1 < int(found[2]) <= 16:
        return None
    bits = int(found[2])
    least, most = bounds(bits, signed=not name.startswith("U"), narrow=False)
    step = 2.0 ** -(bits - int(found[3])) if found[3] else None if name.startswith("SCALED") else 1.0
    return Quantizer(container(least, most), None if step is None else (step,), (0,), qmin=least, qmax=most, origin="annotation")


_READERS: dict[str, Callable[[_Node], Quantizer]] = {
    "Quant": _quant, "IntQuant": _quant, "BipolarQuant": _bipolar, "FloatQuant": _float_quant, "Trunc": _trunc, "MultiThreshold": _multi_threshold,
    **dict.fromkeys(
        ("LearnablePerTensorAffine", "FixedPerTensorAffine", "FixedPerChannelAffine", "FakeQuantizeLearnablePerchannelAffine",
         "FakeQuantizeDSQPerchannel", "FakeQuantizeDSQPertensor", "FakeQuantizeTqtAffine"), _mqbench,
    ),
    **dict.fromkeys(("BFPQuantizeDequantize", "MXQuantizeDequantize"), _shared_exponent),
    "NNIEQuantize": _nnie, "FakeQuantize": _openvino, "RequantShift": _requant_shift, "Dequant": _deeploy_quant,
    **dict.fromkeys(
        ("quantize_per_tensor", "quantize_per_channel", "dequantize_per_tensor", "dequantize_per_channel", "FakeQuant",
         "TRT_FP8QuantizeLinear", "TRT_FP8DequantizeLinear", "TRT_INT4QuantizeLinear", "TRT_INT4DequantizeLinear",
         "ExtendedQuantizeLinear", "ExtendedDequantizeLinear", "VitisQuantizeLinear", "VitisDequantizeLinear"), _with_bounds,
    ),
}  # fmt: skip
