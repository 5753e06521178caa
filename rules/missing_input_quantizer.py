"""A convolution or matrix product reads an activation that has no quantizer.

## What it does

Finds operators with weights (and products of two activations) whose activation input arrives in float.

## Why it matters on hardware

An integer multiply-accumulate needs both operands on integer grids. Without a quantizer on the activation
the operator runs in float, or the weights are only storage: they are dequantized first, and the
speed-up that quantization was for is gone. The usual reasons are a first layer that was left out on
purpose, a reshaping or concatenation that the exporter did not look through, and a functional call that
the quantization tool did not see.

## Example

    relu ───────────► conv ─ Q ─►
    weight ─ Q ─ DQ ──┘

## Instead

    relu ─ Q ─ DQ ──► conv ─ Q ─►
    weight ─ Q ─ DQ ──┘

## Fix and its safety

Insert a quantizer in front of the input. Unsafe: the numbers change, and the range has to come from
calibration data or from bounds of the values.

## References

- Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
  Inference, arXiv 1712.05877, section 2.2
- NVIDIA TensorRT documentation, Working with Quantized Types: place Q/DQ in front of weighted operators
"""

from qlint.graph import Model
from qlint.lint.message import unless_invented
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import activation, missing

rule = Rule(
    name="missing-input-quantizer",
    code="QL302",
    since="0.1.0",
    what="{port}{origin} {has} no quantizer",
    why=unless_invented("{backend} runs {a_kind} in integer only on quantized activations"),
    fix="insert a quantizer at {port} of the {kind}",
    cure="insert",
    applicability="unsafe",
)
rule.explains("quantizer", kinds="weighted", roles="x|lhs|rhs", where=(missing, activation))


@rule.bad(says="input x (the model's input x) has no quantizer")
def model_input_in_float() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8()) | u8())


@rule.bad(sites=1, says="the conv, the gather and the add run in float")
def one_tensor_that_two_ops_read() -> Model:
    g = Graph()
    x = g.input() | u8()
    y = g.conv(x, w=s8(), name="a") | u8()
    skip = g.op("gather", y, g.constant(1), name="g")
    return g.model(g.op("add", skip, g.conv(skip, w=s8(), name="c") | u8()) | u8())


@rule.bad(sites=2, says="inputs lhs and rhs")
def product_of_two_activations() -> Model:
    g = Graph()
    return g.model(g.op("matmul", g.input("q"), g.input("k"), name="scores") | u8())


@rule.good
def quantized() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_an_op_without_weights() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input()) | u8(1 / 256))
