"""A bias is quantized with another scale than input scale times weight scale.

## What it does

Compares the scale of each integer bias with the product of the scales of input and weight, per channel.

## Why it matters on hardware

The accumulator is in units of input scale times weight scale, and the bias is added to it as it is. A
bias in any other unit has to be rescaled first. A kernel that does not rescale either does not match, so
the layer runs in float, or adds a bias that is off by that factor. It happens when a scale is changed
after the bias was quantized: two quantizers in series, equalization, a shared input.

## Example

    x: scale 0.02   weight: scale 0.01   bias: scale 0.0014

## Instead

    x: scale 0.02   weight: scale 0.01   bias: scale 0.0002

## Fix and its safety

Quantize the bias again from its real values with the product of the scales. Nearly exact: an int32 bias
has so many levels that the change is far below one step of the output.

## References

- Jacob et al., arXiv 1712.05877, section 2.4, equation 11
- ONNX, QLinearConv: "bias ... scale should be x_scale * w_scale, zero point 0"
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, s32, u8


def _what(facts: Facts) -> str:
    if all(isinstance(cause.found, float) for cause in facts.causes):
        return f"the scale of the bias is {facts.found} times the product of input scale and weight scale"
    return f"the bias has {facts.found}, the weight {facts.wanted}"


rule = Rule(
    name="bias-scale-mismatch",
    code="QL501",
    since="0.1.0",
    what=_what,
    why="{backend} adds the bias to the accumulator as it is",
    fix="quantize the bias again with input scale times weight scale",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("bias_scale")


@rule.bad(says="the scale of the bias is 7 times the product of input scale and weight scale")
def seven_times() -> Model:
    g = Graph()
    b = g.constant(8) | s32(7 * 0.0025)
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())


@rule.bad(says="because two quantizers in series are merged")
def input_quantized_twice() -> Model:
    g = Graph()
    b = g.constant(8) | s32()
    return g.model(g.conv(g.input() | u8(0.04) | u8(0.05), w=s8(), b=b) | u8())


@rule.bad(says="the bias has 4 scales, the weight 8 scales")
def wrong_number_of_scales() -> Model:
    g = Graph()
    b = g.constant(8) | s32([0.0025] * 4, granularity="tensor")
    return g.model(g.conv(g.input() | u8(), w=s8([0.05] * 8), b=b) | u8())


@rule.good
def product_of_the_scales() -> Model:
    g = Graph()
    b = g.constant(8) | s32()
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())


@rule.good
def near_miss_rounding_of_float32() -> Model:
    g = Graph()
    b = g.constant(8) | s32(0.0025 * (1 + 1e-6))
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())
