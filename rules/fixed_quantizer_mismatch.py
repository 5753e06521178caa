"""The output of a softmax, sigmoid or tanh is not on the grid that the kernel writes.

## What it does

Finds operators with a known output range whose output quantizer differs from the one that is built into
the integer kernel: scale 1/256 and the smallest zero point for softmax and sigmoid, 1/128 for tanh.

## Why it matters on hardware

These functions are computed with tables or polynomials that end on a fixed grid. Some backends write that
grid whatever the file says, so the next operator reads numbers that are shifted or scaled: nothing fails,
the accuracy is gone. Others refuse the operator. Calibration rarely arrives at exactly this grid.

## Example

    softmax ─ QuantizeLinear(scale=0.0039, zero_point=10) ─►

## Instead

    softmax ─ QuantizeLinear(scale=1/256, zero_point=0) ─►

## Fix and its safety

Set scale and zero point of the output to what the kernel writes. Unsafe in principle (the numbers change),
harmless in practice: the grid covers the whole range of the function.

## References

- LiteRT 8-bit quantization specification: SOFTMAX and LOGISTIC, scale 1/256 and zero point -128
- ONNX Runtime pull requests 14626 and 14640: the output range of Softmax
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8
from qlint.lint.where import wants_fixed

_WORDS = {"zero_point": "zero point", "scale": "scale"}

rule = Rule(
    name="fixed-quantizer-mismatch",
    code="QL221",
    since="0.1.0",
    what=lambda facts: f"the output is quantized with {_WORDS[facts.dimension]} {facts.found}",
    why=lambda facts: f"{facts.backend} wants {_wanted(facts.wanted)} behind {facts.a_kind}",
    fix="quantize the output of the {kind} on the grid that the kernel writes",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("zero_point|scale", roles="y", where=wants_fixed)
rule.explains(
    "scale", roles="x", where=wants_fixed,
    what="{port}{origin} is quantized with scale {found}", why="{backend} wants {wanted} in front of {a_kind}",
)  # fmt: skip


def _wanted(text: str) -> str:
    return {"qmin": "the smallest value of the type", "nonzero": "another than zero"}.get(text, text)


@rule.bad(says="the output is quantized with zero point 10; toy wants the smallest value of the type behind a softmax")
def zero_point() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()) | u8(1 / 256, zp=10))


@rule.bad(says="with scale 0.0039; toy wants 0.00390625 behind a sigmoid")
def scale() -> Model:
    g = Graph()
    return g.model(g.op("sigmoid", g.input() | u8()) | u8(0.0039))


@rule.good
def the_grid_of_the_kernel() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()) | u8(1 / 256))


@rule.good
def near_miss_no_fixed_range() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input() | u8()) | u8(0.0039, zp=10))
