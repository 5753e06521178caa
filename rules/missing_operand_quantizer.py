"""An operator without weights has an input without a quantizer.

## What it does

Finds pooling, activation, normalization and other operators that could run in integer if the input had a
quantizer. Operators with weights, element-wise operators and concatenations have rules of their own.

## Why it matters on hardware

Between two quantized layers such an operator is an island: the integers in front of it are dequantized,
it runs in float, and its result is quantized again. Each island costs two conversions and, where float
is not on the accelerator, two transfers. Tools forget these operators because they have no parameters
(functional calls, tensor methods), and leave softmax and swish in float on purpose.

## Example

    conv ─► softmax ─ Q ─►

## Instead

    conv ─ Q ─ DQ ─► softmax ─ Q ─►

## Fix and its safety

Insert a quantizer in front of the operator. Unsafe: the numbers change, and the range has to come from
calibration data or from bounds of the values.

## References

- MQBench (arXiv 2111.03759), section 3.3: which operators each backend wants quantized
- NVIDIA TensorRT documentation, Working with Quantized Types: Q/DQ placement recommendations
"""

from qlint.graph import Model
from qlint.lint.message import unless_invented
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing, read

rule = Rule(
    name="missing-operand-quantizer",
    code="QL305",
    since="0.1.0",
    what="{port}{origin} {has} no quantizer",
    why=unless_invented("{backend} {runs} in integer only on quantized inputs"),
    fix="insert a quantizer at {port} of the {kind}",
    cure="insert",
    applicability="unsafe",
)
rule.explains("quantizer", where=(missing, read))


@rule.bad(says="runs a softmax in integer only on quantized inputs, here the softmax and the conv run in float")
def softmax_behind_a_float_conv() -> Model:
    g = Graph()
    y = g.conv(g.input() | u8(), w=s8())
    return g.model(g.op("softmax", y) | u8(1 / 256))


@rule.good
def quantized_input() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()) | u8(1 / 256))


@rule.good
def near_miss_a_concat() -> Model:
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("concat", x, g.op("max_pool", x)) | u8())


@rule.good
def near_miss_a_conv() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8()) | u8())
