"""A weight's zero point is not zero, and the backend needs it to be.

## What it does

Finds weights quantized with a zero point, at operators whose integer kernel has no term for it.

## Why it matters on hardware

A zero point of the weight multiplies the activation, so it cannot be computed ahead of time: it costs an
extra sum over the input for every output. Most integer kernels leave it out. Some compilers then refuse
the model, some run the layer in float, and some ignore the zero point and compute wrong numbers.

## Example

    weight (int8) ─ DequantizeLinear(scale=0.01, zero_point=5)

## Instead

    weight (int8) ─ DequantizeLinear(scale=0.011, zero_point=0)

## Fix and its safety

Quantize the weight again with a symmetric range. Unsafe: the numbers change. It needs no data. An unsigned
weight with a zero point in the middle can be stored as signed without any change of the numbers.

## References

- Krishnamoorthi, arXiv 1806.08342, section 2.1 and 3.1
- LiteRT 8-bit quantization specification: weights are symmetric
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import weight

rule = Rule(
    name="asymmetric-weight",
    code="QL206",
    since="0.1.0",
    what="the weight{origin} is quantized with zero point {found}",
    why="{backend} wants {wanted}",
    fix="quantize the weight with a symmetric range",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("zero_point", where=weight)
rule.explains("symmetric", where=weight, what="the weight{origin} is not quantized symmetrically", why="{backend} wants it to be")


@rule.bad(says="zero point 5; toy wants zero, here the conv is rejected and the model does not run")
def zero_point() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(zp=5)) | u8())


@rule.bad(says="zero point -3 to 4")
def one_per_channel() -> Model:
    g = Graph()
    w = s8([0.01] * 8, zp=[4, -3, 0, 0, 0, 0, 0, 0])
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.good
def zero() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(zp=128), w=s8()) | u8())


@rule.good
def near_miss_where_any_zero_point_is_taken() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=s8([0.01] * 8, zp=[3] * 8, axis=1)) | u8())
