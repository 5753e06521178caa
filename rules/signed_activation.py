"""An activation is quantized signed, and the backend computes on unsigned integers.

## What it does

Finds int8 (or int16) activations at operators whose integer kernel takes the unsigned type only.

## Why it matters on hardware

The 8-bit multiply-add of x86 processors without AMX multiplies unsigned by signed bytes, so the libraries
for it want unsigned activations. Runtimes that convert int8 activations themselves do so only under
conditions (a single reader, say), and fall back to float otherwise.

## Example

    QuantizeLinear(int8, zero_point=-5) ─► matmul

## Instead

    QuantizeLinear(uint8, zero_point=123) ─► matmul    # the same grid

## Fix and its safety

Shift container and zero point by 128. This describes the same grid: the numbers stay the same, bit by bit.

## References

- Intel 64 Architectures Software Developer's Manual, VPDPBUSD: unsigned times signed bytes
- ONNX Runtime documentation, Quantize ONNX Models: choice of U8S8 or S8S8
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import activation, signed

rule = Rule(
    name="signed-activation",
    code="QL208",
    since="0.1.0",
    what="{port}{origin} {is_} quantized to {found}",
    why="{backend} wants {wanted}",
    fix="use the unsigned type of the same width, with the zero point shifted by half of the range; the grid stays the same",
    cure="quantizers",
    applicability="safe",
    per_kind=False,
)
rule.explains("storage", where=(activation, signed))


@rule.bad(sites=2, says="inputs lhs and rhs (the model's input q and k) are quantized to int8; toy wants uint8")
def attention_scores() -> Model:
    g = Graph()
    return g.model(g.op("matmul", g.input("q") | s8(), g.input("k") | s8()) | s8())


@rule.bad(says="input x (the model's input x) is quantized to int8; toy wants uint8")
def where_only_unsigned_integers_may_have_a_zero_point() -> Model:
    g = Graph()
    return g.model(g.op("softplus", g.input() | s8(zp=-37)) | s8())


@rule.good
def unsigned() -> Model:
    g = Graph()
    return g.model(g.op("matmul", g.input("q") | u8(), g.input("k") | u8()) | u8())


@rule.good
def near_miss_signed_where_both_are_fine() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), w=s8()) | s8())
