"""An element-wise operator has an input without a quantizer.

## What it does

Finds additions, multiplications and other operators of two operands where one operand reaches the
operator in float, although the other one and the output are quantized (or could be).

## Why it matters on hardware

Integer kernels for element-wise operators rescale both operands to the grid of the result, so they need
the scale of both. With one of them in float the operator is computed in float, and so is the operator
that feeds it, because its output never becomes integers. Residual networks lose every block that way:
the exporter quantized the inputs of convolutions and forgot the skip connection or the branch.

## Example

    conv ──────────► add ─ Q ─►
    x ─ Q ─ DQ ──────┘

## Instead

    conv ─ Q ─ DQ ─► add ─ Q ─►
    x ─ Q ─ DQ ──────┘

## Fix and its safety

Insert a quantizer in front of the operand. Unsafe: the numbers change, and the range has to come from
calibration data or from bounds of the values.

## References

- MQBench (arXiv 2111.03759), section 3.3 and Figure 4: three schemes of inserting quantizers at an add
- ONNX Runtime, QDQ node units: every input of a unit needs a DequantizeLinear
"""

from qlint.graph import Model
from qlint.judge.verdict import Mismatch
from qlint.lint.message import unless_invented
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import missing

rule = Rule(
    name="missing-add-quantizer",
    code="QL301",
    since="0.1.0",
    what="{port}{origin} {has} no quantizer",
    why=unless_invented("{backend} {runs} in integer only if both inputs are quantized"),
    fix="insert a quantizer at {port} of the {kind}",
    cure="insert",
    applicability="unsafe",
)
rule.explains("quantizer", kinds="binary", roles="lhs|rhs", where=missing)


def _fused(m: Mismatch) -> bool:
    """The backend computes it together with the operator in front, and wants the other operand quantized."""
    return bool(m.chain) and m.chain[0] is not m.anchor


rule.explains(
    "quantizer", kinds="binary", roles="lhs|rhs", where=(missing, _fused),
    why=unless_invented("{backend} {runs} inside the operator in front only what is quantized"),
)


@rule.bad(says="input rhs (from conv2) has no quantizer; toy adds in integer only if both inputs are quantized")
def branch_in_float() -> Model:
    g = Graph()
    x = g.input() | u8()
    branch = g.conv(x, w=s8(), name="conv2")
    return g.model(g.op("add", x, branch) | u8())


@rule.bad(sites=8, says="8 adds")
def every_block_of_a_resnet() -> Model:
    g = Graph()
    x = g.input() | u8()
    for block in range(8):
        branch = g.conv(x, w=s8(), name=f"layer{block}.conv2")
        x = g.op("add", x, branch, name=f"layer{block}.add") | u8()
    return g.model(x)


@rule.bad(sites=2, says="inputs lhs and rhs (from conv4 and conv7) have no quantizer")
def both_inputs_in_float() -> Model:
    g = Graph()
    x = g.input() | u8()
    a, b = g.conv(x, w=s8()), g.conv(x, w=s8())
    return g.model(g.op("mul", a, b) | u8())


@rule.good
def both_inputs_quantized() -> Model:
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("add", x, g.conv(x, w=s8()) | u8()) | u8())


@rule.good
def near_miss_only_the_output_is_float() -> Model:
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("add", x, g.conv(x, w=s8()) | u8()))
