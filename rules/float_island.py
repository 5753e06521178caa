"""An operator stands between a dequantization and a quantization, and the file is executed as it is.

## What it does

Finds operators that read what a DEQUANTIZE made of integers, or whose result goes to a QUANTIZE, on backends
that run every operator on the types it has in the file. There a pair around an operator is not a wish to run
it in integer, but an order to convert.

## Why it matters on hardware

The neighbours run in integer, this operator in float, and two conversions are paid on the way. An
accelerator hands the tensor to the CPU and takes it back. Files get that way when a converter has no integer
kernel for an operator, or when a tool leaves an operator out of the quantization.

## Example

    int8 ─► DEQUANTIZE ─► ADD ─► QUANTIZE ─► int8

## Instead

    int8 ─► ADD ─► int8

## Fix and its safety

Let the operator read and write the integers, and drop the two conversions. Unsafe: its arithmetic is rounded
to the grid of its output.

## References

- LiteRT documentation, Post-training quantization: integer with float fallback
- tensorflow/model-optimization issue 735: operators left in float between QUANTIZE and DEQUANTIZE
"""

from dataclasses import replace

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8


def _what(facts: Facts) -> str:
    if facts.wanted != "yes":
        return f"{facts.port}{facts.origin} {facts.has} integers"
    return "the output is floats that are quantized behind it" if facts.port == "the output" else f"{facts.port}{facts.origin} {facts.is_} dequantized in front of it"


def _written(facts: Facts) -> str:
    if facts.found == "operator":
        return f"{facts.port}{facts.origin} holds integers, which the operator would have to read itself"
    return "the output is floats that are quantized behind it" if facts.port == "the output" else f"{facts.port}{facts.origin} {facts.is_} dequantized in front of it"


def _why(facts: Facts) -> str:
    return f"{facts.backend} has no kernel of it for them" if facts.found == "operator" else f"{facts.backend} runs every operator on the types that it has in the file"


rule = Rule(
    name="float-island",
    code="QL311",
    since="0.1.0",
    what=_what,
    why="{backend} runs every operator on the types that it has in the file",
    fix="let the {kind} read and write integers, without a conversion on either side",
)
rule.explains("stored", about=lambda m: m.anchor)
rule.explains("written", what=_written, why=_why, about=lambda m: m.anchor)


@rule.bad(says="is dequantized in front of it; toy runs every operator on the types that it has in the file, here the gelu runs in float")
def between_conversions() -> Model:
    g = Graph()
    return g.model(g.op("gelu", g.input() | u8()) | replace(u8(), origin="qoperator"))


@rule.bad(says="the output is floats that are quantized behind it")
def converted_behind() -> Model:
    g = Graph()
    return g.model(g.op("gelu", g.input() | replace(u8(), origin="qoperator")) | u8())


@rule.good
def integers_in_and_out() -> Model:
    g = Graph()
    return g.model(g.op("gelu", g.input() | replace(u8(), origin="qoperator")) | replace(u8(), origin="qoperator"))


@rule.good
def near_miss_a_backend_that_looks_through_the_pair() -> Model:
    g = Graph()
    return g.model(g.op("relu", g.conv(g.input() | u8(), w=u8(zp=128))) | u8())
