"""An activation's zero point is not where the backend needs it.

## What it does

Finds activations quantized with a zero point away from the middle of the grid, at operators whose
integer kernel assumes a symmetric quantizer.

## Why it matters on hardware

With a zero point each product has cross terms, zero point times sum of weights. Hardware that only
multiplies and accumulates int8 has no place for them, and its compilers accept symmetric activations
only. Asymmetric activations are the default of several training tools and of min-max calibration.

## Example

    QuantizeLinear(x, scale=0.02, zero_point=-37)   # int8

## Instead

    QuantizeLinear(x, scale=0.04, zero_point=0)     # the grid grows to cover the same range

## Fix and its safety

Widen the range so that it is symmetric. Unsafe: half of the grid may stay unused behind a ReLU, which
costs up to one bit of precision.

## References

- Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295, section 2.3
- Bhalgat et al., LSQ+, arXiv 2004.09576: learned offsets for activations
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import activation, wants_symmetric

rule = Rule(
    name="asymmetric-activation",
    code="QL205",
    since="0.1.0",
    what="the quantizer of {port}{origin} is not symmetric: its zero point is {found}",
    why="{backend} wants a symmetric one",
    fix="quantize with a symmetric range (zero point in the middle of the grid)",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("zero_point", where=(activation, wants_symmetric))
rule.explains("symmetric", where=activation, what="the quantizer of {port}{origin} is not symmetric")


@rule.bad(says="its zero point is -37")
def asymmetric_int8() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(zp=-37), kind="linear", w=s8()) | s8())


@rule.bad(sites=2, says="its zero point is -37 to 5")
def two_layers() -> Model:
    g = Graph()
    y = g.conv(g.input() | s8(zp=-37), kind="linear", w=s8()) | s8(zp=5)
    return g.model(g.conv(y, kind="linear", w=s8()) | s8())


@rule.good
def symmetric() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | s8(), kind="linear", w=s8()) | s8())


@rule.good
def near_miss_unsigned() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(zp=128), kind="linear", w=s8()) | s8())
