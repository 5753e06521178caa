"""The weight of a convolution or matrix product has no quantizer.

## What it does

Finds operators whose activation may be quantized but whose constant weight is in float.

## Why it matters on hardware

Some compilers quantize a float weight themselves, most do not: to them a float weight says that the
operator is meant to run in float. It happens when a layer is excluded from weight quantization, when a
parametrization (weight norm, a learned transform) hides the weight from the tool, and when a shared
embedding is used as a projection.

## Example

    x ─ Q ─ DQ ─► conv ─ Q ─►
    weight (float) ─┘

## Instead

    x ─ Q ─ DQ ─► conv ─ Q ─►
    weight (int8) ─ DQ ─┘

## Fix and its safety

Quantize the weight from its own values; no calibration data is needed. Unsafe: the numbers change.

## References

- Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342, section 3
- ONNX Runtime documentation, Quantize ONNX Models: representation of quantized weights
"""

from qlint.graph import Model
from qlint.judge.ports import ANY
from qlint.lint.message import unless_invented
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing, weight

rule = Rule(
    name="missing-weight-quantizer",
    code="QL303",
    since="0.1.0",
    what="{port}{origin} has no quantizer",
    why=unless_invented("{backend} runs {a_kind} in integer only with a quantized weight"),
    fix=lambda facts: f"quantize the weight of the {facts.kind}" + (f" ({facts.wanted})" if facts.wanted != ANY else ""),
    cure="insert",
    applicability="unsafe",
)
rule.explains("quantizer", kinds="weighted", where=(missing, weight))


@rule.bad(says="the weight")
def float_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8()) | u8())


@rule.bad(says="the weight")
def constant_side_of_a_matmul() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), kind="matmul") | u8())


@rule.good
def quantized_weight() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_float_bias() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8(), b=g.constant(8)) | u8())
