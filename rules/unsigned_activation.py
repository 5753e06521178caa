"""An activation is quantized unsigned, and the backend computes on signed integers.

## What it does

Finds uint8 (or uint4, uint16) activations at operators whose integer kernel takes the signed type only.

## Why it matters on hardware

Signed multipliers read the bits of 200 as -56. Compilers for such hardware accept signed types only; what
they are given unsigned they refuse or run in float. Quantizers for ReLU networks are unsigned by default
(DoReFa and PACT clip to [0, alpha]), so that the sign bit is not wasted.

## Example

    relu ─ QuantizeLinear(uint8, zero_point=0) ─►

## Instead

    relu ─ QuantizeLinear(int8, zero_point=-128) ─►    # the same grid, if zero points are allowed
    relu ─ QuantizeLinear(int8, zero_point=0) ─►       # twice the scale, if they are not

## Fix and its safety

Shifting container and zero point by 128 describes the same grid and is exact. If the backend wants a
zero point of zero as well, the scale has to double: unsafe, one bit of precision is lost.

## References

- Choi et al., PACT, arXiv 1805.06085; Zhou et al., DoReFa-Net, arXiv 1606.06160
- NVIDIA TensorRT documentation, Working with Quantized Types: INT8 is signed
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import activation, unsigned

rule = Rule(
    name="unsigned-activation",
    code="QL207",
    since="0.1.0",
    what="{port}{origin} is quantized to {found}",
    why="{backend} wants {wanted}",
    fix="use {wanted}, with the zero point shifted by half of the range",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("storage", where=(activation, unsigned))


@rule.bad(sites=2, says="input x or the output is quantized to uint8; toy wants int8")
def relu_network() -> Model:
    g = Graph()
    y = g.op("relu", g.conv(g.input() | u8(), kind="linear", w=s8())) | u8()
    return g.model(y)


@rule.good
def signed() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), kind="linear", w=s8()) | s8())


@rule.good
def near_miss_unsigned_where_both_are_fine() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | u8()) | u8())
