"""Scale and zero point do not fit the tensor, or each other.

## What it does

Compares the shape of each scale with the tensor that it quantizes: one scale for each element of the axis,
an axis that exists, one scale for each block. Also the shape of the zero point with that of the scale.

## Why it matters on hardware

The shape check of ONNX and its shape inference pass such files. Runtimes stop at the first run, or when
the session is made; compilers that only look at the first scale go on with wrong numbers. It is what a
channel-pruning or a layout step leaves behind that changed the weight and forgot its scales, and what the
default `axis=1` does to a tensor of rank one.

## Example

    weight (16, 8, 3, 3) ─ DequantizeLinear(scale: 7 values, axis=0)

## Instead

    weight (16, 8, 3, 3) ─ DequantizeLinear(scale: 16 values, axis=0)

## Fix and its safety

Write the right axis if only that is wrong: safe. If scales are missing, quantize the weight again: unsafe.

## References

- ONNX, QuantizeLinear and DequantizeLinear: per-tensor, per-axis and blocked quantization
- ONNX Runtime, quantize_linear.cc, PrepareForQDQ: "For per axis quantization, scale must be 1D tensor with size ..."
"""

import math
from collections.abc import Iterator

from qlint.graph import Model, Quantizer, Shape
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import grids
from qlint.lint.testing import Graph, quantizer, s8, u8

rule = Rule(
    name="quantizer-shape-mismatch",
    code="QL204",
    since="0.1.0",
    what="{problem} of {port}{origin} {found}",
    why="{wanted}",
    fix="quantize the tensor again, or write the axis that its scales belong to",
    consequence="wrong",
    per_kind=False,
)

_Problem = tuple[str, str, str]  # of what, found, wanted
BROADCAST = ("fake-quant", "decomposed")  # their scales have the rank of the tensor, as in arithmetic


@rule.check
def shapes(model: Model) -> Iterator[Issue]:
    """The first thing that does not fit at each quantizer whose scale is known."""
    for grid in grids(model):
        q = grid.quantizer
        if q.scale is None:
            continue
        problem = _own(q) or (_against(q, grid.shape) if q.granularity != "tensor" else None)
        if problem is not None:
            of, found, wanted = problem
            yield Issue.at(grid.use, found, wanted, of, problem=of)


def _own(q: Quantizer) -> _Problem | None:
    """The zero point against the scale; a scalar and a vector of one element are the same, and what is broadcast fits."""
    scale, zero_point = q.scale_shape, q.zero_point_shape
    if zero_point is None or scale == zero_point or (_single(scale) and _single(zero_point)) or q.origin in BROADCAST:
        return None
    return "the zero point", f"has shape {list(zero_point)}", f"the scale has shape {list(scale)}, and both have to agree"


def _single(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) == 1 and len(shape) <= 1


def _against(q: Quantizer, shape: Shape | None) -> _Problem | None:
    """The scale against the tensor; what is symbolic or unknown fits."""
    if shape is None or q.axis is None:
        return None
    if not 0 <= q.axis < len(shape):
        return "the axis", f"is {q.axis}", f"the tensor has {len(shape)} dimension{'s' if len(shape) != 1 else ''}, counted from 0"
    if q.granularity == "block":
        return None if q.origin in BROADCAST or not q.scale_shape else _blocks(q, shape)
    return _channels(q, shape[q.axis])


def _channels(q: Quantizer, size: object) -> _Problem | None:
    if len(q.scale_shape) != 1 and q.origin not in BROADCAST:
        return "the scale", f"has shape {list(q.scale_shape)}", "scales along one axis are a vector"
    count = math.prod(q.scale_shape)
    if isinstance(size, int) and size != count:
        return "the scale", f"has {count} values", f"axis {q.axis} of the tensor has {size} elements"
    return None


@rule.check
def packed_blocks(model: Model) -> Iterator[Issue]:
    """The numbers of MatMulNBits: N rows of K / block_size blocks, and zero points packed like the weight, each row from a new byte on."""
    for op in model.walk():
        if op.native != "com.microsoft::MatMulNBits":
            continue
        k, n, bits, size = (op.attrs.get(name, 4 if name == "bits" else 0) for name in ("K", "N", "bits", "block_size"))
        if min(k, n, bits, size) <= 0:
            continue
        blocks = -(-k // size)
        for role, of in (("scales", "the scale"), ("zero_points", "the zero point")):
            use = op.uses.get(role)
            wanted = n * (-(-blocks * bits // 8) if use is not None and use.tensor.dtype == "uint8" else blocks)
            if use is not None and use.tensor.size not in (None, wanted):
                needs = f"{n} rows of {blocks} {'block' if blocks == 1 else 'blocks'} take {wanted}{' bytes' if wanted != n * blocks else ''}"
                yield Issue(op, "w", op.uses["w"].tensor, f"has {use.tensor.size} values", needs, of, facts={"problem": of})
                break


def _blocks(q: Quantizer, shape: Shape) -> _Problem | None:
    wanted = [-(-d // q.block_size) if i == q.axis and isinstance(d, int) else d for i, d in enumerate(shape)]
    fits = len(wanted) == len(q.scale_shape) and all(w == s for w, s in zip(wanted, q.scale_shape, strict=True) if isinstance(w, int))
    if fits:
        return None
    text = f"blocks of {q.block_size} along axis {q.axis} of {list(shape)} take {wanted}"
    return "the scale", f"has shape {list(q.scale_shape)}", text


@rule.bad(says="the scale of the weight (the constant c2) has 7 values; axis 0 of the tensor has 8 elements")
def scales_of_a_pruned_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([0.01] * 7)) | u8())


@rule.bad(says="the axis of the bias (the constant c0) is 1; the tensor has 1 dimension, counted from 0")
def default_axis_at_a_bias() -> Model:
    g = Graph()
    b = g.constant(8) | quantizer("int32", [0.001] * 8, axis=1)
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())


@rule.bad(says="the zero point of the weight (the constant c2) has shape []; the scale has shape [8]")
def one_zero_point_for_eight_scales() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([0.01] * 8, zero_point_shape=())) | u8())


@rule.bad(says="has shape [16, 1]; blocks of 4 along axis 1 of [16, 8] take [16, 2]")
def blocks() -> Model:
    g = Graph()
    w = quantizer("int4", [0.1] * 16, granularity="block", block_size=4, axis=1, scale_shape=(16, 1), zero_point_shape=(16, 1))
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=w) | u8())


@rule.good
def one_scale_per_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8([0.01] * 8)) | u8())


@rule.good
def near_miss_scalar_beside_a_vector_of_one() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8([0.05], zero_point_shape=()), w=s8()) | u8())


@rule.good
def near_miss_symbolic_channels() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a", (1, "C", 4)) | u8([0.1] * 3, axis=1), g.input("b") | u8()) | u8())


@rule.good
def near_miss_short_last_block() -> Model:
    g = Graph()
    w = quantizer("int4", [0.1] * 48, granularity="block", block_size=3, axis=1, scale_shape=(16, 3), zero_point_shape=(16, 3))
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=w) | u8())
