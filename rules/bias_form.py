"""A bias does not have the form that the backend's kernel takes.

## What it does

Finds biases in float where an int32 one is wanted, the other way round, and biases in a narrow type, with
a zero point or with another granularity.

## Why it matters on hardware

The bias is added in the accumulator. Integer kernels take it as int32 without a zero point; some compilers
quantize a float bias themselves, some only take a float one, and an int8 bias is what results if a tool
treats it like any other constant. The wrong form costs the layer its integer kernel.

## Example

    bias (int8) ─ DequantizeLinear(scale=0.01) ─► conv

## Instead

    bias (int32) ─ DequantizeLinear(scale=input scale · weight scale) ─► conv

## Fix and its safety

From int32 to float: dequantize, exact in float32 up to 24 bits. From float to int32 with the product of
input and weight scale: nearly exact. From int8: only the float model has the lost precision.

## References

- Jacob et al., arXiv 1712.05877, section 2.4: why the bias has 32 bits
- LiteRT 8-bit quantization specification: bias tensors are int32 with zero point 0
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, quantizer, s8, s32, u8
from qlint.lint.where import bias, missing, mixed, unwanted

_FOUND = {
    "storage": "is quantized to {}",
    "granularity": "is quantized per {}",
    "zero_point": "has zero point {}",
    "axis": "has its scales along axis {}",
    "presence": "is {}",
    "dtype": "is {}",
    "scale_shape": "has a scale of shape {}",
}
_WANTED = {
    "storage": "{}",
    "granularity": "one scale per {}",
    "zero_point": "zero point {}",
    "presence": "it {}",
    "dtype": "{}",
}


def _what(facts: Facts) -> str:
    return "the bias " + _FOUND.get(facts.dimension, f"has {facts.dimension} {{}}").format(facts.found)


def _why(facts: Facts) -> str:
    return f"{facts.backend} wants " + _WANTED.get(facts.dimension, f"{facts.dimension} {{}}").format(facts.wanted)


rule = Rule(
    name="bias-form",
    code="QL502",
    since="0.1.0",
    what=_what,
    why=_why,
    fix="write the bias of the {kind} as the backend wants it",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("storage|granularity|zero_point|symmetric|axis|presence|constant|dtype|scale_shape|dynamic", roles="b", where=(bias,))
rule.explains("quantizer", roles="b", where=(missing, bias), what="the bias is in float", why="{backend} wants it quantized ({wanted})")
rule.explains("quantizer", roles="b", where=(unwanted, bias), what="the bias is quantized", why="{backend} wants it in float")
rule.explains("quantizer", roles="b", where=(mixed, bias), what="the bias has {found}")


@rule.bad(says="the bias is quantized to int8; toy wants int32")
def narrow_bias() -> Model:
    g = Graph()
    b = g.constant(8) | s8()
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())


@rule.bad(says="the bias has zero point 5; toy wants zero point zero")
def bias_with_zero_point() -> Model:
    g = Graph()
    b = g.constant(8) | s32(zp=5)
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())


@rule.bad(says="the bias is quantized to int16")
def sixteen_bits() -> Model:
    g = Graph()
    b = g.constant(8) | quantizer("int16", 0.0025)
    return g.model(g.conv(g.input() | u8(), w=s8(), b=b) | u8())


@rule.good
def int32() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), b=g.constant(8) | s32()) | u8())


@rule.good
def near_miss_no_bias() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())
