"""A tensor is quantized in blocks that the backend has no kernel for.

## What it does

Finds tensors with a scale per block of elements where the integer kernel wants one per tensor or channel,
or where it wants blocks of another size (or blocks at all).

## Why it matters on hardware

Within a block the sum is integer, between blocks it is rescaled; the block size is built into the kernel.
Blocked weights come from weight-only methods for language models, whose kernels dequantize first.

## Example

    weight (int4) ─ DequantizeLinear(block_size=20) ─► matmul

## Instead

    weight (int4) ─ DequantizeLinear(block_size=32) ─► matmul

## Fix and its safety

Quantize again with a supported block size, or per channel. Unsafe: the numbers change. Merging blocks
needs only the weights, splitting a block into smaller ones with the same scale is exact.

## References

- ONNX, DequantizeLinear, attribute `block_size` (opset 21)
- OCP Microscaling Formats (MX) Specification 1.0: blocks of 32
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, quantizer, u8
from qlint.lint.where import found_is

rule = Rule(
    name="block-quantization",
    code="QL219",
    since="0.1.0",
    what="{port}{origin} is quantized in blocks",
    why=lambda facts: f"{facts.backend} wants a scale per {facts.wanted}",
    fix="quantize {port} of the {kind} with a granularity that the backend has a kernel for",
)


def _size(facts: Facts) -> str:
    return f"{facts.port}{facts.origin} is quantized in blocks of {facts.found}"


rule.explains("granularity", where=found_is("block"))
rule.explains("block_size", what=_size, why="{backend} wants blocks of {wanted}")


@rule.bad(says="is quantized in blocks of 20; toy wants blocks of 32")
def odd_block_size() -> Model:
    g = Graph()
    w = quantizer("int4", [0.1] * 8, granularity="block", block_size=20)
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=w) | u8())


@rule.bad(says="the weight (the constant c2) is quantized in blocks; toy wants a scale per tensor")
def blocks_in_a_conv() -> Model:
    g = Graph()
    w = quantizer("int8", [0.1] * 8, granularity="block", block_size=32)
    return g.model(g.conv(g.input() | u8(), w=w) | u8())


@rule.good
def right_block_size() -> Model:
    g = Graph()
    w = quantizer("int4", [0.1] * 8, granularity="block", block_size=32)
    return g.model(g.conv(g.input() | u8(), kind="matmul", w=w) | u8())


@rule.good
def near_miss_per_channel() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=quantizer("int8", [0.1] * 8)) | u8())
