"""Tensors of one operator are quantized to different types, and the backend wants the same.

## What it does

Finds operators whose ports are all quantized, each to a type that is supported, but not to the same one.

## Why it matters on hardware

Integer kernels load, compute and store in one type. A model with 8-bit and 16-bit parts needs an explicit
conversion at each border; without one the operator at the border has no kernel and runs in float.

## Example

    a (uint8) ─► add ─ Q(uint8) ─►
    b (int8) ────┘

## Instead

    a (uint8) ─► add ─ Q(uint8) ─►
    b (uint8) ───┘

## Fix and its safety

Quantize to one type. Between signed and unsigned of the same width this is exact (shift the zero point);
between widths it is unsafe, or needs a requantization in front of the operator.

## References

- ONNX Runtime, QDQ node units: the types of input and output must agree
- Qualcomm AI Engine Direct documentation, Convert operator: mixed precision
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="mixed-storage",
    code="QL215",
    since="0.1.0",
    what="{port}{origin} is quantized to {found}, the other side to {wanted}",
    why="{backend} {runs} in integer only if both are of the same type",
    fix="quantize both sides of the {kind} to the same type",
    cure="quantizers",
    applicability="unsafe",
)
rule.explains("same_storage")


@rule.bad(says="is quantized to int8, the other side to uint8")
def add_of_signed_and_unsigned() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | u8(), g.input("b") | s8()) | u8())


@rule.bad(says="the output is quantized to int8, the other side to uint8")
def conv_that_changes_the_type() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | s8())


@rule.good
def one_type() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input("a") | s8(), g.input("b") | s8(zp=3)) | u8())


@rule.good
def near_miss_the_weight_is_another_type() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())
