"""A scale is zero, negative, infinite, not a number, or too small for the hardware.

## What it does

Looks at every scale in the file and names the channels whose scale is not a positive, finite, normal
number. A zero scale of a weight channel that holds nothing but zeros is left alone: it means what it says.
A negative scale of a weight that the file stores as integers is a warning: some tools (NNCF's symmetric
weight compression) write it on purpose, to use the code that has no opposite.

## Why it matters on hardware

Quantizing divides by the scale. Zero maps every value to one code, a negative scale turns the order of the
values around (and with it every clamp and maximum), NaN and infinity leave nothing. Loaders and runtimes
accept such files and compute finite garbage from them. Numbers below 2**-126 are zero on hardware that has
no subnormal numbers. Calibration that never ran, a learned scale that crossed zero, and division by an
empty range are the usual sources.

## Example

    QuantizeLinear(scale=[0.01, 0.0, -0.02, …])

## Instead

    QuantizeLinear(scale=[0.01, 0.004, 0.02, …])

## Fix and its safety

Calibrate again. Unsafe: the numbers change, for the better. A negative scale with zero point 0 may be
replaced by its absolute value if the quantizer has as many codes below zero as above.

## References

- NVIDIA TensorRT, onnx-tensorrt importer: "Scale coefficients must all be positive"
- XNNPACK, src/tensor.c: the scale must be finite, normalized and positive
- NNCF 3.4, weight compression: the sign of a symmetric scale is that of the largest weight
- Esser et al., Learned Step Size Quantization, arXiv 1902.08153: scales that are trained like weights
"""

import math
from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import Grid, grids
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import wanted_is
from qlint.lint.words import numbered

SMALLEST_NORMAL = 2.0**-126  # of float32

# what is wrong with a scale, how it is told, what it leads to
_SORTS = (
    ("NaN", math.isnan, "every value that it touches is undefined"),
    ("infinite", math.isinf, "every value becomes zero, or undefined"),
    ("zero", lambda s: s == 0, "quantizing divides by it, and every value becomes zero"),
    ("negative", lambda s: s < 0, "the order of the values turns around, and with it every clamp and maximum"),
    ("subnormal", lambda s: s < SMALLEST_NORMAL, "hardware without subnormal numbers takes it for zero"),
)
# A stored weight is never quantized again, so that nothing of it is clamped.
_STORED = "a dequantized weight keeps its values, but not every kernel that requantizes has a multiplier with a sign"
_PARTS = {"tensor": "element", "channel": "channel", "block": "block"}


rule = Rule(
    name="invalid-scale",
    code="QL201",
    since="0.1.0",
    what="the scale of {port}{origin} is {sort}",
    why="{reason}",
    fix="calibrate again, with data that reaches this tensor",
    consequence="wrong",
    per_kind=False,
)
rule.explains(
    "scale", where=wanted_is("nonzero", "positive"), about=lambda m: m.tensor,
    what="the scale of {port}{origin} is {found}", why="{backend} wants it to be {wanted}",
)  # fmt: skip


@rule.check
def scales(model: Model) -> Iterator[Issue]:
    """The worst sort of invalid scale of each quantizer, with its channels."""
    for grid in grids(model):
        scale = grid.quantizer.scale or ()
        if not scale or (min(scale) >= SMALLEST_NORMAL and sum(scale) < math.inf):  # with a NaN the sum is none too
            continue
        for sort, holds, reason in _SORTS:
            found = [i for i, s in enumerate(scale) if holds(s) and not (s == 0 and _holds_zeros(grid, i))]
            if found:
                places = f" in {numbered(_PARTS[grid.quantizer.granularity], found)}" if len(scale) > 1 else ""
                if sort == "negative" and grid.stored:
                    yield Issue.at(grid.use, scale[found[0]], "positive", sort, consequence="unknown", severity="warning", sort=f"{sort}{places}", reason=_STORED)
                else:
                    yield Issue.at(grid.use, scale[found[0]], "positive", sort, sort=f"{sort}{places}", reason=reason)
                break


def _holds_zeros(grid: Grid, channel: int) -> bool:
    """Whether the integers of a stored weight's channel are all the zero point: then they are zero on any scale."""
    data, q, shape = grid.use.tensor.data, grid.quantizer, grid.use.tensor.shape
    if not grid.stored or data is None or shape != grid.shape or q.granularity == "block" or q.zero_point is None:
        return False
    axis = q.axis or 0
    if axis >= max(1, len(data.shape)):
        return False
    size, inner = (data.shape[axis], math.prod(data.shape[axis + 1 :])) if q.granularity == "channel" else (1, math.prod(data.shape))
    zero = q.zero_point[channel if channel < len(q.zero_point) else 0]
    values = data.values()
    rows = range(channel * inner, len(values), max(1, size * inner))
    return all(value == zero for row in rows for value in values[row : row + inner])


@rule.bad(says="the scale of input x (the model's input x) is zero; quantizing divides by it")
def zero() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(0.0), w=s8()) | u8())


@rule.bad(says="the scale of the weight (the constant w) is negative in channels 0 and 5; a dequantized weight keeps its values")
def two_channels_of_a_weight() -> Model:
    g = Graph()
    w = g.constant(8, 8, 3, 3, name="w") | s8([-0.01, *[0.01] * 4, -0.02, 0.01, 0.01])
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.bad(says="the scale of the output is NaN")
def not_a_number() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8(math.nan))


@rule.bad(says="is negative; the order of the values turns around")
def learned_scale_that_crossed_zero() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(-0.05), w=s8()) | u8())


@rule.bad(says="is subnormal; hardware")
def subnormal() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8(1e-40)) | u8())


@rule.bad(says="is zero in channel 2; quantizing divides by it, and every value becomes zero, here the conv gives other numbers")
def lost_channel_on_a_backend_that_looks() -> Model:
    g = Graph()
    w = g.constant(8, 8, 3, 3, values=[1] * 576) | s8([0.01, 0.01, 0.0, *[0.01] * 5])
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.good
def positive() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(1e-6), w=s8([1e-30, *[0.01] * 7])) | u8())


@rule.good
def near_miss_channel_of_zeros() -> Model:
    g = Graph()
    w = g.constant(16, 8, values=[column != 3 for _ in range(16) for column in range(8)]) | s8([0.01] * 3 + [0.0] + [0.01] * 4, axis=1)
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=w) | u8())
