"""A tensor is quantized to a number of bits that the backend has no kernel for.

## What it does

Finds tensors whose integer container has another width than any that the operator's integer kernel takes.

## Why it matters on hardware

A width is a set of instructions. 4-bit activations, 16-bit weights or 2-bit anything exist on few
targets, and rarely for every operator. What does not exist runs in float or is refused. Note that a 4-bit
grid in an int8 container counts as 8-bit here: such a model runs, without being any smaller or faster.

## Example

    x ─ QuantizeLinear(uint4) ─► conv

## Instead

    x ─ QuantizeLinear(uint8) ─► conv

## Fix and its safety

Quantize to a supported width. Unsafe: the numbers change. Going up keeps accuracy (the 4-bit grid is a
subset of an 8-bit one), going down needs new calibration or training.

## References

- ONNX, QuantizeLinear: types by opset version
- MQBench (arXiv 2111.03759), Table 2: bit-widths by backend
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, quantizer, s8, u8
from qlint.lint.where import other_width

rule = Rule(
    name="unsupported-bit-width",
    code="QL213",
    since="0.1.0",
    what="{port}{origin} {is_} quantized to {found}",
    why="{backend} has no kernel for that and wants {wanted}",
    fix="quantize to {wanted}",
    cure="quantizers",
    applicability="unsafe",
    per_kind=False,
)
rule.explains("storage", where=other_width)
rule.explains("bits")


@rule.bad(says="is quantized to uint16; toy has no kernel for that and wants uint8 or int8")
def sixteen_bit_activation() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | quantizer("uint16"), w=s8()) | u8())


@rule.bad(says="the weight")
def four_bit_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=quantizer("int4")) | u8())


@rule.good
def eight_bit() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_only_the_sign_differs() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=u8(zp=128)) | u8())
